"""Tests that the steps of a training or fit never wait for an accelerator: they read no value from the device.

On a CPU such an operation costs nothing, but it is executed and can be counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dipddpm.core.config import DdpmConfig, DipConfig, parse_task
from dipddpm.core.ddpm.networks.unet import UNet
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.training import DdpmTraining
from dipddpm.core.degrade import degrade
from dipddpm.core.dip.batch import PriorBatch
from dipddpm.core.events import Step

aten = torch.ops.aten
READS = {aten._local_scalar_dense, aten.is_nonzero, aten.nonzero, aten.masked_select, aten.unique_dim, aten.equal}
"""Operations whose result, or its shape, the host needs before it can continue."""
SCHEDULE = Schedule.from_config(DdpmConfig())
PUBLISHED = DdpmConfig(epochs=1, batch_size=4)
ALL = DdpmConfig(
    epochs=1, batch_size=4, warmup=3, decay="cosine", clip=1.0, stratified=True, ema=0.9, weighting="min-snr"
)


class Waits(TorchDispatchMode):
    """A counter of the operations that would wait for an accelerator."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        masks = func.overloadpacket is aten.index and any(
            isinstance(leaf, Tensor) and leaf.dtype == torch.bool for leaf in tree_leaves(args[1])
        )
        self.count += masks or func.overloadpacket in READS
        return func(*args, **(kwargs or {}))


def training(options: DdpmConfig, device: str = "cpu", read_every: int | None = None) -> DdpmTraining:
    torch.manual_seed(0)
    network = UNet((1, 8, 8), channels=(8, 8), classes=3)
    images = torch.randint(256, (40, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = (torch.arange(40) % 3).to(device)
    schedule = Schedule.from_config(options, torch.device(device))
    given = images.to(device), options
    return DdpmTraining(network.to(device), schedule, *given, labels=labels, read_every=read_every)


@pytest.mark.parametrize("options", [PUBLISHED, ALL], ids=["published", "all options"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_window_reads_one_value_from_device(options: DdpmConfig, precision: str) -> None:
    run = training(msgspec.structs.replace(options, precision=precision), read_every=5)
    with Waits() as waits:
        item = next(iter(run))
    assert isinstance(item, Step)
    assert item.step == 5
    assert waits.count == 1, "only the loss is read, at the end of the window"


@pytest.mark.parametrize("stop", ["discrepancy", "variance", "held-out"])
def test_dip_iteration_reads_nothing_from_device(stop: Any) -> None:
    y, degradation = degrade(parse_task("denoise:sigma=25"), torch.rand(3, 1, 12, 12), seeds=range(3))
    batch = PriorBatch(y, degradation, DipConfig(stop=stop, scales=2), (1, 12, 12), truth=y)
    with Waits() as waits:
        for _ in range(21):
            batch.step_once()
    assert waits.count == 0


def test_waits_counts_every_host_sync() -> None:
    x = torch.rand(4)
    waiting: list[Callable[[], object]] = [lambda: x.sum().item(), lambda: x[x > 0.5], lambda: bool(x.sum() > 1)]
    for read in waiting:
        with Waits() as waits:
            read()
        assert waits.count == 1


def test_training_stores_images_as_bytes_and_converts_batches() -> None:
    run = training(PUBLISHED)
    assert run.images.dtype == torch.uint8
    assert run.batch().dtype == torch.float32
    assert run.generator.device == run.images.device, "noise and timesteps are drawn on the images' device"
    assert run.optimizer.defaults["fused"]
