"""Whether torch, the NVIDIA driver and the GPUs go together."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from core.doctor.finding import Finding, note, ok, problem
from core.doctor.probe import Report

PATIENCE_SECONDS = 90.0
SLOW_SECONDS = 20.0
NVIDIA = "0x10de"
GET_TORCH = "pytorch.org/get-started tells the line"


class Gpu(msgspec.Struct, frozen=True):
    """A GPU as its driver sees it, memory in GB."""

    name: str
    total: float = 0.0
    free: float = 0.0


class Driver(msgspec.Struct, frozen=True):
    """The NVIDIA driver."""

    version: str = ""
    cuda: str = ""
    """The newest CUDA version that it knows, as `13.0`."""
    gpus: list[Gpu] = []
    trouble: str = ""
    """Why it doesn't answer; empty, too, where no such driver is installed."""
    on_bus: int = 0
    """NVIDIA's display devices on the PCI bus, whether or not a driver knows them."""
    visible: int | None = None
    """How many of the GPUs CUDA_VISIBLE_DEVICES leaves; None where it isn't set."""


class Probe:
    """The process that loads torch, started at once and asked last."""

    def __init__(self) -> None:
        self._trouble = ""
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "core.doctor.probe"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except OSError as error:
            self._trouble = str(error)

    def findings(self) -> Iterator[Finding]:
        """What is to be said of torch and the GPUs."""
        found = self.report()
        yield from judge_torch(found)
        yield from judge_gpus(look_at_driver(), found)

    def report(self) -> Report:
        """What the process found, or why it found nothing."""
        if self._process is None:
            return Report(trouble=self._trouble)
        try:
            printed, complaint = self._process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            return Report(trouble=f"it did not load within {PATIENCE_SECONDS:.0f} s")
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.decode(printed.splitlines()[-1] if printed else b"", type=Report)
        last = complaint.decode(errors="replace").strip().splitlines()[-1:]
        return Report(trouble=" ".join([f"loading it ended with {self._process.returncode}", *last]))

    def close(self) -> None:
        """End the process, if it still is at work."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


def judge_torch(found: Report) -> Iterator[Finding]:
    """What is to be said of torch itself."""
    if not found.torch:
        yield problem("torch", f"torch can't be loaded: {found.trouble}", f"Install it again; {GET_TORCH}.")
        return
    build = f"built for CUDA {found.cuda}" if found.cuda else f"built for ROCm {found.hip}" if found.hip else "CPU only"
    told = f"{found.torch}, {build}, {found.threads} thread{'s' * (found.threads != 1)}, loads in {found.seconds:.1f} s"
    if found.seconds > SLOW_SECONDS:
        yield note("torch", told, "Keep the environment on a local disk: each run loads torch.")
    else:
        yield ok("torch", told)
    if found.torchvision_trouble:
        told = f"torchvision can't be loaded: {found.torchvision_trouble}"
        yield problem("torchvision", told, f"Install the torchvision that belongs to torch {found.torch}; {GET_TORCH}.")
    else:
        yield ok("torchvision", found.torchvision)


def judge_gpus(driver: Driver, found: Report) -> Iterator[Finding]:
    """Whether runs can have the GPUs that the machine has."""
    if not driver.gpus:
        yield _no_driver(driver)
        return
    names = ", ".join(f"{gpu.name} ({gpu.total:.0f} GB)" for gpu in driver.gpus)
    told = f"{names}; driver {driver.version}, up to CUDA {driver.cuda}"
    if driver.visible == 0:
        yield note("gpu", f"{told}; CUDA_VISIBLE_DEVICES hides them", "Unset it, or runs take the CPU.")
        return
    if not found.torch:
        yield ok("gpu", told)
    elif not found.cuda:
        yield problem(
            "gpu", f"{told}; torch {found.torch} is not built for CUDA", f"Install a CUDA build; {GET_TORCH}."
        )
    elif not found.devices:
        yield problem("gpu", f"{told}; torch finds none of them", _why_none(driver, found))
    elif broken := [device for device in found.devices if device.trouble]:
        told = f"{broken[0].name} can't compute: {broken[0].trouble}"
        yield problem("gpu", told, f"Install a torch built for this GPU ({GET_TORCH}), or run with --device cpu.")
    else:
        yield _full(driver) or ok("gpu", told)


def look_at_driver() -> Driver:
    """Ask NVML, and the PCI bus where nobody else answers."""
    import pynvml

    on_bus = _on_bus(Path("/sys/bus/pci/devices"))
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        absent = error.value in {pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED}
        return Driver(trouble="" if absent else str(error), on_bus=on_bus)
    try:
        cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        gpus = [_gpu(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return Driver(
            version=_text(pynvml.nvmlSystemGetDriverVersion()),
            cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
            gpus=gpus,
            on_bus=on_bus,
            visible=_visible(os.environ.get("CUDA_VISIBLE_DEVICES"), len(gpus)),
        )
    except pynvml.NVMLError as error:
        return Driver(trouble=str(error), on_bus=on_bus)
    finally:
        pynvml.nvmlShutdown()


def _no_driver(driver: Driver) -> Finding:
    if driver.trouble:
        told = f"The NVIDIA driver doesn't answer: {driver.trouble}"
        return problem("gpu", told, "Reboot after an update of the driver, or see what nvidia-smi says.")
    if driver.on_bus:
        told = f"{driver.on_bus} NVIDIA device{'s' * (driver.on_bus > 1)} on the bus, but no driver is loaded"
        return problem("gpu", told, "Install NVIDIA's driver; in a container, start it with --gpus all.")
    return ok("gpu", "no NVIDIA GPU: runs take the CPU")


def _why_none(driver: Driver, found: Report) -> str:
    knows, needs = (int(version.partition(".")[0] or 0) for version in (driver.cuda, found.cuda))
    if knows < needs:
        return f"Update the driver to one that knows CUDA {needs}, or install torch for CUDA {knows}; {GET_TORCH}."
    return "See what nvidia-smi says, and whether this account may open /dev/nvidia*."


def _full(driver: Driver) -> Finding | None:
    """A note where others leave little memory."""
    full = [f"{index}" for index, gpu in enumerate(driver.gpus) if gpu.total and gpu.free < 0.1 * gpu.total]
    if not full:
        return None
    told = f"GPU {', '.join(full)}: less than a tenth of the memory is free"
    return note("gpu", told, "See who has it with nvidia-smi; --device cuda:N chooses another.")


def _gpu(index: int) -> Gpu:
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    name = _text(pynvml.nvmlDeviceGetName(handle))
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError:
        return Gpu(name)
    return Gpu(name, memory.total / 1e9, memory.free / 1e9)


def _visible(given: str | None, count: int) -> int | None:
    if given is None:
        return None
    return min(count, len([part for part in given.split(",") if part.strip() not in {"", "-1"}]))


def _on_bus(devices: Path) -> int:
    """Display devices of NVIDIA's, by the PCI bus."""
    count = 0
    for device in devices.glob("*"):
        with contextlib.suppress(OSError):
            vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
            count += vendor == NVIDIA and kind.startswith("0x03")
    return count


def _text(name: str | bytes) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name
