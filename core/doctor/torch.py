"""Checks that torch, the NVIDIA driver and the GPUs fit together."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec

from dipddpm.core.compute.devices import gpu_count
from dipddpm.core.doctor.finding import Finding, TorchReport, note, ok, problem
from dipddpm.core.runs.environment import python_module

PATIENCE_SECONDS = 90.0
SLOW_SECONDS = 20.0
NVIDIA = "0x10de"
TORCH_INSTALL_HINT = "see pytorch.org/get-started"


class DriverGpu(msgspec.Struct, frozen=True):
    """A GPU that the driver lists, with its memory in GB."""

    name: str
    total: float = 0.0
    free: float = 0.0


class Driver(msgspec.Struct, frozen=True):
    """The NVIDIA driver."""

    version: str = ""
    cuda: str = ""
    """The newest CUDA version that the driver supports, such as `13.0`."""
    gpus: list[DriverGpu] = []
    trouble: str = ""
    """Why the driver doesn't answer; empty if it answers or isn't installed."""
    on_bus: int = 0
    """Number of NVIDIA's display devices on the PCI bus, with or without a driver."""
    hidden: bool = False
    """True if CUDA_VISIBLE_DEVICES hides all GPUs."""


class Probe:
    """The process that loads torch; it starts first and is read last, because loading takes time."""

    def __init__(self) -> None:
        self._trouble = ""
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen(
                python_module("dipddpm.core.doctor.probe"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except OSError as error:
            self._trouble = str(error)

    def findings(self) -> Iterator[Finding]:
        """Yield the findings about torch and the GPUs."""
        report = self.report()
        yield from assess_torch(report)
        yield from assess_gpus(query_driver(), report)

    def report(self) -> TorchReport:
        """Wait for the process and return its report; if the process died or hangs, the report's `trouble` says so."""
        if self._process is None:
            return TorchReport(trouble=self._trouble)
        try:
            printed, errors = self._process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            return TorchReport(trouble=f"loading took longer than {PATIENCE_SECONDS:.0f} s")
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.decode(printed.splitlines()[-1] if printed else b"", type=TorchReport)
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        return TorchReport(trouble=" ".join([f"loading ended with exit code {self._process.returncode}", *last]))

    def close(self) -> None:
        """End the process if it still runs."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


def assess_torch(report: TorchReport) -> Iterator[Finding]:
    """Assess torch and torchvision themselves."""
    if not report.torch:
        remedy = f"Install torch again; {TORCH_INSTALL_HINT}."
        yield problem("torch", f"torch can't be loaded: {report.trouble}", remedy)
        return
    builds = {"CUDA": report.cuda, "ROCm": report.hip}
    build = next((f"built for {name} {version}" for name, version in builds.items() if version), "CPU only")
    threads = f"{report.threads} thread{'s' * (report.threads != 1)}"
    message = f"{report.torch}, {build}, {threads}, loads in {report.seconds:.1f} s"
    if report.seconds > SLOW_SECONDS:
        yield note("torch", message, "Move the environment to a local disk, because every run loads torch.")
    else:
        yield ok("torch", message)
    if report.torchvision_trouble:
        message = f"torchvision can't be loaded: {report.torchvision_trouble}"
        remedy = f"Install the torchvision that belongs to torch {report.torch}; {TORCH_INSTALL_HINT}."
        yield problem("torchvision", message, remedy)
    else:
        yield ok("torchvision", report.torchvision)


def assess_gpus(driver: Driver, report: TorchReport) -> Iterator[Finding]:
    """Assess whether runs can use the machine's GPUs."""
    if not driver.gpus:
        yield _no_driver(driver)
        return
    names = ", ".join(f"{gpu.name} ({gpu.total:.0f} GB)" for gpu in driver.gpus)
    message = f"{names}; driver {driver.version}, up to CUDA {driver.cuda}"
    broken = [device for device in report.devices if device.trouble]
    full = [str(index) for index, gpu in enumerate(driver.gpus) if gpu.total and gpu.free < 0.1 * gpu.total]
    if driver.hidden:
        yield note("gpu", f"{message}; CUDA_VISIBLE_DEVICES hides them", "Unset it, or runs use the CPU.")
    elif not report.torch:
        yield ok("gpu", message)
    elif not report.cuda:
        message += f"; torch {report.torch} is not built for CUDA"
        yield problem("gpu", message, f"Install a CUDA build; {TORCH_INSTALL_HINT}.")
    elif not report.devices:
        yield problem("gpu", f"{message}; torch finds none of them", _remedy_for_no_device(driver, report))
    elif broken:
        message = f"{broken[0].name} can't compute: {broken[0].trouble}"
        remedy = f"Install a torch built for this GPU ({TORCH_INSTALL_HINT}), or run with --device cpu."
        yield problem("gpu", message, remedy)
    elif full:
        message = f"GPU {', '.join(full)}: less than a tenth of the memory is free"
        yield note("gpu", message, "Find the programs that use it with nvidia-smi; --device cuda:N selects a GPU.")
    else:
        yield ok("gpu", message)


def query_driver() -> Driver:
    """Return the state of the driver from NVML, and the number of GPUs on the PCI bus."""
    import pynvml

    on_bus = _on_bus(Path("/sys/bus/pci/devices"))
    try:
        pynvml.nvmlInit()
        try:
            cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
            return Driver(
                version=pynvml.nvmlSystemGetDriverVersion(),
                cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
                gpus=[_gpu(index) for index in range(pynvml.nvmlDeviceGetCount())],
                on_bus=on_bus,
                hidden=not gpu_count(),
            )
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        absent = error.value in {pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED}
        return Driver(trouble="" if absent else str(error), on_bus=on_bus)


def _no_driver(driver: Driver) -> Finding:
    if driver.trouble:
        message = f"The NVIDIA driver doesn't answer: {driver.trouble}"
        return problem("gpu", message, "Reboot if the driver was updated; otherwise run nvidia-smi for the cause.")
    if driver.on_bus:
        message = f"{driver.on_bus} NVIDIA device{'s' * (driver.on_bus > 1)} on the bus, but no driver is loaded"
        return problem("gpu", message, "Install NVIDIA's driver; start a container with --gpus all.")
    return ok("gpu", "no NVIDIA GPU: runs use the CPU")


def _remedy_for_no_device(driver: Driver, report: TorchReport) -> str:
    supported, needed = (int(version.partition(".")[0] or 0) for version in (driver.cuda, report.cuda))
    if supported < needed:
        update = f"Update the driver to one that supports CUDA {needed}"
        return f"{update}, or install torch for CUDA {supported}; {TORCH_INSTALL_HINT}."
    return "Run nvidia-smi for the cause, and check that this account may open /dev/nvidia*."


def _gpu(index: int) -> DriverGpu:
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    name = pynvml.nvmlDeviceGetName(handle)
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError:
        return DriverGpu(name)
    return DriverGpu(name, memory.total / 1e9, memory.free / 1e9)


def _on_bus(devices: Path) -> int:
    """Return the number of NVIDIA's display devices on the PCI bus."""
    count = 0
    for device in devices.glob("*"):
        with contextlib.suppress(OSError):
            vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
            count += vendor == NVIDIA and kind.startswith("0x03")
    return count
