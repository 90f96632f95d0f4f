"""Tests of the checks of torch, driver and GPUs: each mismatch gives a finding with a remedy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pynvml
import pytest

from dipddpm.core.doctor import Severity
from dipddpm.core.doctor import torch as torches
from dipddpm.core.doctor.finding import TorchDevice, TorchReport
from dipddpm.core.doctor.torch import Driver, DriverGpu, assess_gpus, assess_torch, query_driver
from tests.helpers import PATIENCE_SECONDS

H100 = DriverGpu("NVIDIA H100", 85.0, 80.0)
DRIVER = Driver(version="580.95", cuda="13.0", gpus=[H100], on_bus=1)
WORKS = TorchReport(
    torch="2.15.0+cu130", cuda="13.0", devices=[TorchDevice("NVIDIA H100")], threads=8, torchvision="0.30"
)


def of(report: TorchReport, **changes: object) -> TorchReport:
    return msgspec.structs.replace(report, **changes)


@pytest.mark.parametrize(
    ("driver", "report", "verdict", "part", "remedy"),
    [
        (DRIVER, WORKS, Severity.ok, "driver 580.95, up to CUDA 13.0", ""),
        (Driver(), of(WORKS, devices=[]), Severity.ok, "runs use the CPU", ""),
        (DRIVER, of(WORKS, cuda="", devices=[]), Severity.problem, "not built for CUDA", "Install a CUDA build"),
        (
            msgspec.structs.replace(DRIVER, cuda="12.4"), of(WORKS, devices=[]),
            Severity.problem, "finds none", "supports CUDA 13, or install torch for CUDA 12",
        ),
        (DRIVER, of(WORKS, devices=[]), Severity.problem, "finds none", "nvidia-smi"),
        (
            DRIVER, of(WORKS, devices=[TorchDevice("cuda:0", "no kernel image is available")]),
            Severity.problem, "no kernel image", "built for this GPU",
        ),
        (Driver(on_bus=2), WORKS, Severity.problem, "2 NVIDIA devices on the bus", "--gpus all"),
        (Driver(trouble="Driver/library version mismatch"), WORKS, Severity.problem, "mismatch", "Reboot"),
        (msgspec.structs.replace(DRIVER, hidden=True), WORKS, Severity.note, "CUDA_VISIBLE_DEVICES hides", "Unset"),
        (
            msgspec.structs.replace(DRIVER, gpus=[DriverGpu("A", 80, 2)]), WORKS,
            Severity.note, "GPU 0: less", "--device cuda",
        ),
    ],
)  # fmt: skip
def test_assess_gpus_explains_each_mismatch(
    driver: Driver, report: TorchReport, verdict: Severity, part: str, remedy: str
) -> None:
    (finding,) = assess_gpus(driver, report)
    assert finding.verdict is verdict
    assert part in finding.message
    assert remedy in finding.remedy


def test_assess_torch_explains_torch_and_torchvision_trouble() -> None:
    assert [finding.verdict for finding in assess_torch(WORKS)] == [Severity.ok, Severity.ok]
    (missing,) = assess_torch(TorchReport(trouble="No module named 'torch'"))
    assert (missing.verdict, "No module named" in missing.message) == (Severity.problem, True)
    mismatched = of(WORKS, torchvision="", torchvision_trouble="operator torchvision::nms does not exist")
    (_, vision) = assess_torch(mismatched)
    assert (vision.verdict, "nms" in vision.message, WORKS.torch in vision.remedy) == (Severity.problem, True, True)
    (slow, _) = assess_torch(of(WORKS, seconds=40.0))
    assert (slow.verdict, "local disk" in slow.remedy) == (Severity.note, True)


def test_probe_reports_installed_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    monkeypatch.setattr(torches, "PATIENCE_SECONDS", PATIENCE_SECONDS)
    probe = torches.Probe()
    try:
        report = probe.report()
    finally:
        probe.close()
    # A build adds a label such as +cu132, which its metadata may lack.
    assert report.torch.partition("+")[0] == metadata.version("torch").partition("+")[0]
    assert report.torchvision.partition("+")[0] == metadata.version("torchvision").partition("+")[0]
    assert (report.threads, report.trouble) == (1, "")


def test_probe_reports_process_that_dies_or_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = torches.Probe()
    probe.close()
    code = "import sys; print('Bus error', file=sys.stderr); sys.exit(3)"
    probe._process = subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1)
    assert probe.report().trouble == "loading ended with exit code 3 Bus error"
    probe._process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=-1, stderr=-1)
    monkeypatch.setattr(torches, "PATIENCE_SECONDS", 0.1)
    assert "loading took longer than" in probe.report().trouble
    probe.close()
    assert probe._process.returncode == -9


def test_on_bus_counts_nvidia_display_devices(tmp_path: Path) -> None:
    for name, vendor, kind in (("0", "0x10de", "0x030200"), ("1", "0x10de", "0x040300"), ("2", "0x8086", "0x030000")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(vendor)
        (tmp_path / name / "class").write_text(kind)
    (tmp_path / "3").mkdir()
    assert torches._on_bus(tmp_path) == 1


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Replace NVML by a driver with two GPUs, whose second one doesn't report its memory."""

    def memory(handle: int) -> SimpleNamespace:
        if handle:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return SimpleNamespace(total=80e9, free=20e9)

    answers = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: "580.95",
        "nvmlSystemGetCudaDriverVersion_v2": lambda: 13020,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": "GPU {}".format,
        "nvmlDeviceGetMemoryInfo": memory,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, answer)
    return monkeypatch


@pytest.mark.parametrize(("visible", "hidden"), [(None, False), ("1", False), ("", True), ("-1", True)])
def test_query_driver_reads_gpus_and_whether_they_are_hidden(
    visible: str | None, hidden: bool, two_gpus: pytest.MonkeyPatch
) -> None:
    if visible is not None:
        two_gpus.setenv("CUDA_VISIBLE_DEVICES", visible)
    driver = query_driver()
    assert (driver.version, driver.cuda, driver.hidden) == ("580.95", "13.2", hidden)
    assert driver.gpus == [DriverGpu("GPU 0", 80, 20), DriverGpu("GPU 1")]


@pytest.mark.parametrize(
    ("code", "trouble"),
    [(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, False), (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, True)],
)
def test_query_driver_distinguishes_absent_from_broken_driver(
    code: int, trouble: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise pynvml.NVMLError(code)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    driver = query_driver()
    assert driver.gpus == []
    assert bool(driver.trouble) == trouble
