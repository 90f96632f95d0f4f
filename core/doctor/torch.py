"""Whether torch, the NVIDIA driver and the GPUs go together."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec

from dipddpm.core.compute.devices import gpu_count
from dipddpm.core.doctor.finding import Finding, note, ok, problem
from dipddpm.core.doctor.probe import TorchReport
from dipddpm.core.runs.environment import python_module

PATIENCE_SECONDS = 90.0
SLOW_SECONDS = 20.0
NVIDIA = "0x10de"
TORCH_INSTALL_HINT = "pytorch.org/get-started tells the line"


class DriverGpu(msgspec.Struct, frozen=True):
    """A GPU as its driver sees it, memory in GB."""

    name: str
    total: float = 0.0
    free: float = 0.0


class Driver(msgspec.Struct, frozen=True):
    """The NVIDIA driver."""

    version: str = ""
    cuda: str = ""
    """The newest CUDA version that it knows, as `13.0`."""
    gpus: list[DriverGpu] = []
    trouble: str = ""
    """Why it doesn't answer; empty, too, where no such driver is installed."""
    on_bus: int = 0
    """NVIDIA's display devices on the PCI bus, whether or not a driver knows them."""
    hidden: bool = False
    """Whether CUDA_VISIBLE_DEVICES leaves none of the GPUs."""


class Probe:
    """The process that loads torch, started at once and asked last."""

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
        """What is to be said of torch and the GPUs."""
        report = self.report()
        yield from assess_torch(report)
        yield from assess_gpus(query_driver(), report)

    def report(self) -> TorchReport:
        """What the process found, or why it found nothing."""
        if self._process is None:
            return TorchReport(trouble=self._trouble)
        try:
            printed, complaint = self._process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            return TorchReport(trouble=f"it did not load within {PATIENCE_SECONDS:.0f} s")
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.decode(printed.splitlines()[-1] if printed else b"", type=TorchReport)
        last = complaint.decode(errors="replace").strip().splitlines()[-1:]
        return TorchReport(trouble=" ".join([f"loading it ended with {self._process.returncode}", *last]))

    def close(self) -> None:
        """End the process, if it still is at work."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


def assess_torch(report: TorchReport) -> Iterator[Finding]:
    """What is to be said of torch itself."""
    if not report.torch:
        yield problem("torch", f"torch can't be loaded: {report.trouble}", f"Install it again; {TORCH_INSTALL_HINT}.")
        return
    builds = {"CUDA": report.cuda, "ROCm": report.hip}
    build = next((f"built for {name} {version}" for name, version in builds.items() if version), "CPU only")
    threads = f"{report.threads} thread{'s' * (report.threads != 1)}"
    message = f"{report.torch}, {build}, {threads}, loads in {report.seconds:.1f} s"
    if report.seconds > SLOW_SECONDS:
        yield note("torch", message, "Keep the environment on a local disk: each run loads torch.")
    else:
        yield ok("torch", message)
    if report.torchvision_trouble:
        message = f"torchvision can't be loaded: {report.torchvision_trouble}"
        remedy = f"Install the torchvision that belongs to torch {report.torch}; {TORCH_INSTALL_HINT}."
        yield problem("torchvision", message, remedy)
    else:
        yield ok("torchvision", report.torchvision)


def assess_gpus(driver: Driver, report: TorchReport) -> Iterator[Finding]:
    """Whether runs can have the GPUs that the machine has."""
    if not driver.gpus:
        yield _no_driver(driver)
        return
    names = ", ".join(f"{gpu.name} ({gpu.total:.0f} GB)" for gpu in driver.gpus)
    message = f"{names}; driver {driver.version}, up to CUDA {driver.cuda}"
    broken = [device for device in report.devices if device.trouble]
    full = [str(index) for index, gpu in enumerate(driver.gpus) if gpu.total and gpu.free < 0.1 * gpu.total]
    if driver.hidden:
        yield note("gpu", f"{message}; CUDA_VISIBLE_DEVICES hides them", "Unset it, or runs take the CPU.")
    elif not report.torch:
        yield ok("gpu", message)
    elif not report.cuda:
        message += f"; torch {report.torch} is not built for CUDA"
        yield problem("gpu", message, f"Install a CUDA build; {TORCH_INSTALL_HINT}.")
    elif not report.devices:
        yield problem("gpu", f"{message}; torch finds none of them", _why_none(driver, report))
    elif broken:
        message = f"{broken[0].name} can't compute: {broken[0].trouble}"
        remedy = f"Install a torch built for this GPU ({TORCH_INSTALL_HINT}), or run with --device cpu."
        yield problem("gpu", message, remedy)
    elif full:
        message = f"GPU {', '.join(full)}: less than a tenth of the memory is free"
        yield note("gpu", message, "See who has it with nvidia-smi; --device cuda:N chooses another.")
    else:
        yield ok("gpu", message)


def query_driver() -> Driver:
    """Ask NVML, and the PCI bus where NVML doesn't answer."""
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
        return problem("gpu", message, "Reboot after an update of the driver, or see what nvidia-smi says.")
    if driver.on_bus:
        message = f"{driver.on_bus} NVIDIA device{'s' * (driver.on_bus > 1)} on the bus, but no driver is loaded"
        return problem("gpu", message, "Install NVIDIA's driver; in a container, start it with --gpus all.")
    return ok("gpu", "no NVIDIA GPU: runs take the CPU")


def _why_none(driver: Driver, report: TorchReport) -> str:
    knows, needs = (int(version.partition(".")[0] or 0) for version in (driver.cuda, report.cuda))
    if knows < needs:
        update = f"Update the driver to one that knows CUDA {needs}"
        return f"{update}, or install torch for CUDA {knows}; {TORCH_INSTALL_HINT}."
    return "See what nvidia-smi says, and whether this account may open /dev/nvidia*."


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
    """Display devices of NVIDIA's, by the PCI bus."""
    count = 0
    for device in devices.glob("*"):
        with contextlib.suppress(OSError):
            vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
            count += vendor == NVIDIA and kind.startswith("0x03")
    return count
