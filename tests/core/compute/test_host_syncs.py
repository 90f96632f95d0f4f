"""Tests that the steps of a training or fit never wait for an accelerator: they read no value from the device.

On a CPU such an operation costs nothing, but it is executed and can be counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

import msgspec
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dipddpm.core.config import DdpmConfig, DipConfig, parse_task
from dipddpm.core.config.base import CompileMode
from dipddpm.core.ddpm.networks.tutorial import TutorialNetwork
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
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


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


@pytest.fixture
def strict() -> Iterator[None]:
    """Turn CUDA's check for waiting operations off again after the test."""
    yield
    torch.cuda.set_sync_debug_mode("default")


@cuda
def test_training_window_raises_no_sync_error_on_gpu(strict: None) -> None:
    run = training(ALL, "cuda", read_every=100)
    next(iter(training(ALL, "cuda")))  # one-time initialisation may wait
    x0, label = run.batch(), run._batch_labels()
    torch.cuda.set_sync_debug_mode("error")
    for _ in range(5):
        run._update(x0, label)


@cuda
@pytest.mark.parametrize("mode", get_args(CompileMode))
def test_compile_modes_give_losses_of_eager_step(mode: CompileMode) -> None:
    def losses(*, compiled: bool) -> list[float | None]:
        torch.manual_seed(0)
        options = DdpmConfig(epochs=2, batch_size=64, ema=0.9, compile=compiled, compile_mode=mode)
        images = torch.randint(256, (512, 1, 28, 28), dtype=torch.uint8, device="cuda")
        schedule = Schedule.from_config(DdpmConfig(), torch.device("cuda"))
        network = TutorialNetwork().cuda()
        run = DdpmTraining(network, schedule, images, options, read_every=2)
        return [item.loss for item in run if isinstance(item, Step)]

    assert losses(compiled=True) == pytest.approx(losses(compiled=False), rel=2e-3)


@cuda
def test_bfloat16_training_on_gpu_nearly_matches_float32_losses() -> None:
    def losses(precision: Any) -> list[float | None]:
        run = training(msgspec.structs.replace(PUBLISHED, precision=precision, epochs=4), "cuda", read_every=5)
        return [item.loss for item in run if isinstance(item, Step)]

    assert losses("bfloat16") == pytest.approx(losses("float32"), rel=0.05)
