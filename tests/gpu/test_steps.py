"""Steps on a GPU never wait for it, and their faster forms compute the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, get_args

import msgspec
import pytest
import torch

from dipddpm.core.compute.compile import compile_network
from dipddpm.core.config import DdpmConfig, DipConfig
from dipddpm.core.config.base import CompileMode
from dipddpm.core.config.ddpm import SamplerName
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.networks.unet import UNet
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.solvers import solver
from dipddpm.core.dip.batch import PriorBatch
from dipddpm.core.events import Step
from tests.core.compute.test_host_syncs import ALL, PUBLISHED, Waits, training
from tests.core.methods.cases import case, shapes

MODES: tuple[CompileMode, ...] = ("default", "reduce-overhead")
"""Without CUDA graphs and with them; `max-autotune` also tunes kernels, which takes minutes."""
DIP = DipConfig(scales=2, channels=8, input_channels=4, skip_channels=2)


@pytest.fixture
def refuse_waits(device: torch.device) -> Iterator[Callable[[], None]]:
    """Return a function from whose call on any operation that waits for the GPU raises an error.

    On a CPU the operations that would wait are counted instead, and there must be none.
    """
    waits = Waits()

    def begin() -> None:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        else:
            waits.__enter__()

    yield begin
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("default")
    else:
        waits.__exit__(None, None, None)
        assert waits.count == 0


def test_training_step_never_waits(device: torch.device, refuse_waits: Callable[[], None]) -> None:
    next(iter(training(ALL, str(device))))  # one-time initialisation may wait
    run = training(ALL, str(device), read_every=100)
    x0, label = run.batch(), run._batch_labels()
    run._update(x0, label)
    refuse_waits()
    for _ in range(5):
        run._update(run.batch(), run._batch_labels())


@pytest.mark.parametrize("task", ["denoise:sigma=25", "inpaint:missing=0.5", "superres:factor=2,sigma=5"])
@pytest.mark.parametrize("stop", ["variance", "held-out"])
def test_dip_iteration_never_waits(
    task: str, stop: Any, device: torch.device, refuse_waits: Callable[[], None]
) -> None:
    given = case(task, shapes(3).to(device))
    batch = PriorBatch(given.y, given.degradation, msgspec.structs.replace(DIP, stop=stop), (1, 12, 12))
    for _ in range(3):
        batch.step_once()
    refuse_waits()
    for _ in range(21):
        batch.step_once()


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_sampler_step_never_waits(name: Any, cuda: torch.device, refuse_waits: Callable[[], None]) -> None:
    # The schedule's tables are on the CPU, so that reading them waits for nothing.
    network = UNet((1, 12, 12), channels=(8, 8)).to(cuda)
    options = DdpmConfig(objective="v")
    model = TrainedModel(network, Schedule.from_config(options, cuda), options, cuda)
    sampling = Sampling(model.denoiser(), solver(name), (2, 1, 12, 12), steps=12, device=cuda)
    sampling._step()
    refuse_waits()
    for _ in range(8):
        sampling._step()


def losses(options: DdpmConfig, device: torch.device) -> list[float]:
    run = training(options, str(device), read_every=2)
    return [item.loss for item in run if isinstance(item, Step) and item.loss is not None]


@pytest.mark.parametrize("mode", MODES)
def test_compiled_training_has_losses_of_eager_one(mode: CompileMode, cuda: torch.device) -> None:
    options = msgspec.structs.replace(PUBLISHED, epochs=2, batch_size=8, ema=0.9)
    compiled = msgspec.structs.replace(options, compile=True, compile_mode=mode)
    assert losses(compiled, cuda) == pytest.approx(losses(options, cuda), rel=5e-3)


def test_bfloat16_training_nearly_has_losses_of_float32(device: torch.device) -> None:
    options = msgspec.structs.replace(PUBLISHED, epochs=4)
    half = msgspec.structs.replace(options, precision="bfloat16")
    assert losses(half, device) == pytest.approx(losses(options, device), rel=0.05)


def fitted(options: DipConfig, device: torch.device) -> torch.Tensor:
    given = case("denoise:sigma=25", shapes(3).to(device))
    batch = PriorBatch(given.y, given.degradation, options, (1, 12, 12))
    for _ in range(3):  # of many steps, the rounding of the first ones would decide
        batch.step_once()
    return batch.loss.cpu()


def test_dip_with_cuda_graphs_has_losses_of_eager_one(cuda: torch.device) -> None:
    compiled = msgspec.structs.replace(DIP, compile=True, compile_mode="reduce-overhead")
    torch.testing.assert_close(fitted(compiled, cuda), fitted(DIP, cuda), rtol=0.02, atol=1e-4)


def test_bfloat16_dip_nearly_has_losses_of_float32(device: torch.device) -> None:
    half = fitted(msgspec.structs.replace(DIP, precision="bfloat16"), device)
    torch.testing.assert_close(half, fitted(DIP, device), rtol=0.1, atol=1e-3)


def test_cuda_graphs_give_each_call_a_result_of_its_own(cuda: torch.device) -> None:
    torch.manual_seed(0)
    network = UNet((1, 28, 28), channels=(8, 8)).to(cuda).eval()
    torch.nn.init.normal_(network.get_parameter("out.weight"), std=0.1)
    fast = compile_network(network, "reduce-overhead")
    inputs = [(torch.randn(4, 1, 28, 28, device=cuda), torch.full((4,), t, device=cuda)) for t in (0, 300, 600, 999)]
    with torch.no_grad():
        results = [fast(*pair) for pair in inputs]
        for result, pair in zip(results, inputs, strict=True):
            torch.testing.assert_close(result, network(*pair), rtol=0.01, atol=0.01)
