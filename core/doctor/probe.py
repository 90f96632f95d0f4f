"""The process that loads torch, tries the GPUs and prints a report: `python -m dipddpm.core.doctor.probe`."""

from __future__ import annotations

import time

import msgspec

from dipddpm.core.doctor.finding import TorchDevice, TorchReport


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
