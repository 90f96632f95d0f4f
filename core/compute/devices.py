"""The devices of this machine. The driver is asked first, so that refusing a device needs no torch."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from typing import TYPE_CHECKING

from dipddpm.core.errors import UserError

if TYPE_CHECKING:
    import torch


def gpu_count() -> int:
    """Return the number of CUDA devices that a child process would see: NVML's count, cut by CUDA_VISIBLE_DEVICES."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0
    try:
        count = int(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return count
    return min(count, sum(part.strip() not in {"", "-1"} for part in visible.split(",")))


def candidates(wanted: str) -> list[str]:
    """Return the names of the devices that a run may use: for `auto` all GPUs, or the CPU if there is none.

    Raises UserError for a device that this machine doesn't have.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", wanted):
        raise UserError(f"There is no device {wanted!r}.", "Use auto, cpu, cuda, cuda:N or mps.")
    gpus = gpu_count()
    if wanted == "auto":
        return [f"cuda:{index}" for index in range(gpus)] or ["cpu"]
    if wanted.startswith("cuda"):
        index = int(wanted.partition(":")[2] or 0)
        if index >= gpus:
            has = f"has {gpus} GPU{'s' * (gpus > 1)}" if gpus else "has no GPU that the NVIDIA driver shows"
            raise UserError(f"There is no device {wanted}: this machine {has}.", "Use --device auto or --device cpu.")
        return [f"cuda:{index}"]
    if wanted == "mps" and platform.system() != "Darwin":
        problem = "There is no device mps: only Apple machines have it."
        raise UserError(problem, "Use --device auto or --device cpu.")
    return [wanted]


def resolve(name: str) -> torch.device:
    """Return the torch device of a name from `candidates`. Raises UserError if this build of torch can't use it."""
    import torch

    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            f"The driver shows {name}, but this build of torch ({torch.__version__}) can't use it.",
            "Install a build of torch for this driver, or run with --device cpu.",
        )
    if name == "mps" and not torch.backends.mps.is_available():
        raise UserError("This build of torch can't use mps.", "Run with --device cpu.")
    return torch.device(name)


def describe(device: torch.device) -> str:
    """Return the product name of the GPU or of the processor."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError, IndexError), open("/proc/cpuinfo", encoding="utf-8") as info:  # noqa: PTH123
        return next(line for line in info if line.startswith("model name")).partition(":")[2].strip()
    return platform.processor()
