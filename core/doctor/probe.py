"""Load torch, try the GPUs and print the result: `python -m dipddpm.core.doctor.probe`, a process of its own."""

from __future__ import annotations

import time

import msgspec


class TorchDevice(msgspec.Struct, frozen=True):
    """A CUDA device as torch sees it."""

    name: str
    trouble: str = ""
    """Why it can't add two numbers; empty where it can."""


class TorchReport(msgspec.Struct, frozen=True):
    """What torch says of itself."""

    torch: str = ""
    """Version; empty where torch can't be loaded."""
    trouble: str = ""
    """Why torch can't be loaded."""
    cuda: str = ""
    """The CUDA version that it was built with, as `13.2`; empty for a build without."""
    hip: str = ""
    devices: list[TorchDevice] = []
    threads: int = 0
    torchvision: str = ""
    torchvision_trouble: str = ""
    seconds: float = 0.0
    """What loading torch took."""


def report() -> TorchReport:
    """Load torch and look. Raises nothing that is torch's fault."""
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
            # The first kernel tells what nothing else does: a build without code for this GPU, a driver too old for it.
            assert (torch.ones(2, device=f"cuda:{index}") + 1).sum().item() == 4
            devices.append(TorchDevice(name))
        except Exception as error:
            devices.append(TorchDevice(f"cuda:{index}", _line(error)))
    return devices


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


if __name__ == "__main__":
    print(msgspec.json.encode(report()).decode())
