"""The process that loads torch, tries the GPUs and prints a report: `python -m dipddpm.core.doctor.probe`."""

from __future__ import annotations

import time

import msgspec


class TorchDevice(msgspec.Struct, frozen=True):
    """A CUDA device that torch lists."""

    name: str
    trouble: str = ""
    """Why the device can't add two numbers; empty if it can."""


class TorchReport(msgspec.Struct, frozen=True):
    """Versions and devices of torch, or why torch can't be loaded."""

    torch: str = ""
    """Version of torch; empty if torch can't be loaded."""
    trouble: str = ""
    """Why torch can't be loaded."""
    cuda: str = ""
    """The CUDA version of torch's build, such as `13.2`; empty for a build without CUDA."""
    hip: str = ""
    devices: list[TorchDevice] = []
    threads: int = 0
    torchvision: str = ""
    torchvision_trouble: str = ""
    seconds: float = 0.0
    """Seconds that loading torch took."""


def report() -> TorchReport:
    """Load torch and return the report; exceptions of torch become its `trouble`."""
    began = time.perf_counter()
    try:
        import torch
    except Exception as error:
        return TorchReport(trouble=_line(error))
    seconds = time.perf_counter() - began
    vision, trouble = "", ""
    try:
        import torchvision

        vision = str(torchvision.__version__)
    except Exception as error:
        trouble = _line(error)
    return TorchReport(
        torch=str(torch.__version__),
        cuda=torch.version.cuda or "",
        hip=torch.version.hip or "",
        devices=_devices(),
        threads=torch.get_num_threads(),
        torchvision=vision,
        torchvision_trouble=trouble,
        seconds=seconds,
    )


def _devices() -> list[TorchDevice]:
    import torch

    devices = []
    for index in range(torch.cuda.device_count()):
        try:
            name = torch.cuda.get_device_name(index)
            # Only running a kernel reveals a build without code for this GPU, or a driver that is too old for it.
            assert (torch.ones(2, device=f"cuda:{index}") + 1).sum().item() == 4
            devices.append(TorchDevice(name))
        except Exception as error:
            devices.append(TorchDevice(f"cuda:{index}", _line(error)))
    return devices


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


if __name__ == "__main__":
    print(msgspec.json.encode(report()).decode())
