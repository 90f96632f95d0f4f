"""The state of this machine: GPUs from NVML, CPU and memory from psutil, without noise so that it rarely changes."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from dipddpm.core.io.sanitize import printable

NOISE_LIMITS = {"use": 4, "temperature": 2, "power": 8, "cpu": 4}
"""Changes up to this much count as noise, and the previous value stays."""
_BRANDS = re.compile(r"NVIDIA|GeForce|Tesla|Quadro|\d+GB|SXM\d*|PCIe?|HBM\w*")


@dataclass(frozen=True)
class Gpu:
    """One GPU. A value that the driver doesn't report is None (MIG slices have no use, some boards no power)."""

    name: str
    use: int | None = None
    """Percentage of the time in which a kernel ran."""
    used_gb: float = 0.0
    total_gb: float = 0.0
    temperature: int | None = None
    """Degrees Celsius."""
    power: int | None = None
    """Watts."""


@dataclass(frozen=True)
class HostSample:
    """The machine at one moment."""

    hostname: str
    cpu: int = 0
    """Percentage over all cores."""
    used_gb: float = 0.0
    total_gb: float = 0.0
    gpus: tuple[Gpu, ...] = field(default=())


Sample = TypeVar("Sample", Gpu, HostSample)


class HostSampler:
    """Samples the machine's state, in about a millisecond. Not thread-safe."""

    def __init__(self) -> None:
        self._hostname = printable(socket.gethostname(), 40)
        self._handles: list[tuple[str, Any]] | None = None
        self._last: HostSample | None = None

    def sample(self) -> HostSample:
        """Return the machine's state now. A GPU that fell off the bus is left out from then on."""
        import psutil

        if self._handles is None:
            self._find_gpus()
            psutil.cpu_percent(None)
        memory = psutil.virtual_memory()
        sample = HostSample(
            hostname=self._hostname,
            cpu=round(psutil.cpu_percent(None)),
            used_gb=_gigabytes(memory.total - memory.available),
            total_gb=_gigabytes(memory.total),
            gpus=tuple(gpu for name, handle in self._handles or () if (gpu := self._gpu(name, handle))),
        )
        self._last = sample if self._last is None else without_noise(sample, self._last)
        return self._last

    def _find_gpus(self) -> None:
        import pynvml

        self._handles = []
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlInit()
            for index in range(pynvml.nvmlDeviceGetCount()):
                with contextlib.suppress(pynvml.NVMLError):
                    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                    self._handles.append((short_name(pynvml.nvmlDeviceGetName(handle)), handle))

    def _gpu(self, name: str, handle: Any) -> Gpu | None:
        import pynvml as nvml

        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        except nvml.NVMLError:
            return None

        def query(function: str, *more: Any) -> Any:
            try:
                return getattr(nvml, function)(handle, *more)
            except nvml.NVMLError:
                return None

        use = query("nvmlDeviceGetUtilizationRates")
        power = query("nvmlDeviceGetPowerUsage")
        return Gpu(
            name=name,
            use=None if use is None else int(use.gpu),
            used_gb=_gigabytes(memory.used),
            total_gb=_gigabytes(memory.total),
            temperature=query("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
            power=None if power is None else round(power / 1000),
        )


def without_noise(sample: HostSample, before: HostSample) -> HostSample:
    """Return the sample with the previous value wherever the difference is no more than noise."""
    gpus = sample.gpus
    if len(gpus) == len(before.gpus):
        pairs = zip(gpus, before.gpus, strict=True)
        gpus = tuple(_without_noise(now, last, ("use", "temperature", "power")) for now, last in pairs)
    return replace(_without_noise(sample, before, ("cpu",)), gpus=gpus)


def short_name(name: str) -> str:
    """Return a GPU's name without brand, memory and connector: H100, RTX 4090, A100."""
    words = [word for word in re.split(r"[\s-]+", printable(name, 60)) if word and not _BRANDS.fullmatch(word)]
    return " ".join(words) or printable(name, 60)


def _without_noise(now: Sample, before: Sample, names: Sequence[str]) -> Sample:
    """Return `now` with the previous memory and `names` where the difference is no more than noise."""
    steady: dict[str, Any] = {}
    if abs(now.used_gb - before.used_gb) <= max(0.2, 0.01 * before.used_gb):
        steady["used_gb"] = before.used_gb
    for name in names:
        value, last = getattr(now, name), getattr(before, name)
        if value not in {None, 0, 100} and last is not None and abs(value - last) <= NOISE_LIMITS[name]:
            steady[name] = last
    return replace(now, **steady)


def _gigabytes(size: int) -> float:
    return round(size / 1e9, 1)
