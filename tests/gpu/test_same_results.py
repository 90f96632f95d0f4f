"""Every method gives the same losses and images on the device as on the CPU, up to rounding.

On a CPU the second computation uses other kernels, so that it rounds differently too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, get_args

import msgspec
import pytest
import torch
from torch import Tensor

from dipddpm.core import registry
from dipddpm.core.config import HYBRIDS, DdpmConfig, DdpmRun, DipConfig, HybridRun, build, parse_task
from dipddpm.core.config.ddpm import SamplerName
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.solvers import solver
from dipddpm.core.degrade.case import Case
from dipddpm.core.dip.batch import PriorBatch
from dipddpm.core.events import Step
from dipddpm.core.experiments.ddpm import DdpmExperiment
from dipddpm.core.experiments.substitution import SubstitutionExperiment
from dipddpm.core.images import to_model
from dipddpm.core.methods.base import Restorer, hybrid_restorer
from dipddpm.core.methods.classical.pictures import task_of
from dipddpm.core.methods.classical.table import CLASSICS, Classic
from dipddpm.core.methods.closed_form import ClosedFormRestorer
from dipddpm.core.methods.diffusion import DdpmRestorer
from dipddpm.core.methods.dip import DipRestorer
from tests.core.ddpm.ideal import Finite
from tests.core.methods.cases import SMALL, case, shapes
from tests.gpu.draws import exact

CPU = torch.device("cpu")
OPTIONS = msgspec.structs.replace(SMALL, iterations=12)
TASKS = ("denoise:sigma=25", "inpaint:missing=0.5,sigma=5")
SHORT: dict[str, dict[str, Any]] = {
    "calibrated": {"iterations": 8, "steps": 4, "trial_samples": 2, "samples": 2},
    "noise-fit": {"iterations": 20, "fits": 2},
    "prior-init": {"steps": 4, "samples": 2},
}
"""Options that make a method short."""

Outcome = Callable[[torch.device], Any]


def on_both(outcome: Outcome, device: torch.device) -> tuple[Any, Any]:
    """Return the outcome on the CPU and on the device, from the same random numbers."""
    with exact() as draws:
        first = outcome(CPU)
        assert draws.count > 0, "nothing was drawn from a generator"
    if device == CPU:
        with exact(), torch.backends.mkldnn.flags(enabled=False):
            return first, outcome(device)
    with exact():
        return first, outcome(device)


@contextlib.contextmanager
def double() -> Iterator[None]:
    """Compute in float64, since Adam makes float32's rounding of a tiny gradient as large as the learning rate."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def assert_close(first: Tensor, second: Tensor, most: float) -> None:
    difference = (first - second.cpu()).abs()
    assert difference.mean() < most / 10
    assert difference.max() < most


def losses(items: Any) -> list[float]:
    return [item.loss for item in items if isinstance(item, Step) and item.loss is not None]


@pytest.mark.parametrize("network", ["tutorial", "unet"])
def test_training_has_losses_of_cpu(network: str, device: torch.device) -> None:
    settings = {"data.dataset": "fashion-mini", "data.train_images": 48, "ddpm.epochs": 2, "ddpm.batch_size": 16}
    settings |= {"ddpm.network": network, "unet.channels": "8,8", "unet.attention": 1, "ddpm.samples": 0}
    config = build("ddpm", preset=None, settings={**settings, "ddpm.ema": 0.9, "ddpm.stratified": True})
    assert isinstance(config, DdpmRun)

    def train(device: torch.device) -> list[float]:
        experiment = DdpmExperiment.from_config(config, device)
        experiment.training.read_every = 1
        return losses(experiment)

    first, second = on_both(train, device)
    assert len(first) == 6
    assert second == pytest.approx(first, rel=2e-3)


@pytest.mark.parametrize("reading", ["frozen", "fresh", "warm"])
def test_substitution_has_losses_of_cpu(reading: str, device: torch.device) -> None:
    settings = {"data.dataset": "fashion-mini", "data.train_images": 8, "ddpm.epochs": 2, "ddpm.batch_size": 4}
    settings |= {"ddpm.timesteps": 4, "ddpm.samples": 0, "hybrid.steps": 2, "hybrid.channels": 4}
    config = build("hybrid", method="substitution", settings={**settings, "hybrid.reading": reading})
    assert isinstance(config, HybridRun)

    def train(device: torch.device) -> list[float]:
        experiment = SubstitutionExperiment.from_config(config, device)
        return losses(experiment)

    first, second = on_both(train, device)
    # A GPU reports the mean of several steps, so that only the last report of each epoch is comparable.
    assert second[-1] == pytest.approx(sum(first[-2:]) / 2 if len(second) < len(first) else first[-1], rel=2e-3)


@pytest.mark.parametrize("stop", ["discrepancy", "variance", "held-out"])
@pytest.mark.parametrize("task", TASKS)
def test_dip_fit_has_losses_and_images_of_cpu(task: str, stop: Any, device: torch.device) -> None:
    if stop == "discrepancy" and not task.startswith("denoise"):
        pytest.skip("this rule needs the noise level of every pixel")

    def fit(device: torch.device) -> tuple[Tensor, Tensor]:
        given = case(task, shapes(3).to(device))
        options = msgspec.structs.replace(OPTIONS, stop=stop)
        batch = PriorBatch(given.y, given.degradation, options, (1, 12, 12))
        for _ in range(12):
            batch.step_once()
        return batch.loss.cpu(), batch.restored.cpu()

    with double():
        (loss, restored), (other_loss, other_restored) = on_both(fit, device)
    torch.testing.assert_close(loss, other_loss, rtol=1e-5, atol=1e-9)
    assert_close(restored, other_restored, 1e-5)


def prior(device: torch.device) -> TrainedModel:
    """Return the ideal model of the images to restore and of others."""
    options = DdpmConfig(objective="v", timesteps=50)
    schedule = Schedule.from_config(options, device)
    return TrainedModel(Finite(schedule, to_model(shapes(6).to(device))), schedule, options, device)


def hybrid(name: str) -> Callable[[Case, TrainedModel], Restorer]:
    options = msgspec.structs.replace(HYBRIDS[name](), **SHORT.get(name, {}))
    return lambda case, prior: hybrid_restorer(case, prior, options, OPTIONS)


def classic(case: Case) -> Classic:
    """Return the first classic method that restores a case."""
    task, noise = task_of(case.degradation.operator), case.degradation.noise.kind
    return next(classic for classic in CLASSICS.values() if classic.supports(task, noise))


RESTORERS: dict[str, Callable[[Case, TrainedModel], Restorer]] = {
    "dip": lambda case, _: DipRestorer(case, OPTIONS),
    "ddnm": lambda case, prior: DdpmRestorer(case, prior, method="ddnm", steps=8),
    "diffpir": lambda case, prior: DdpmRestorer(case, prior, method="diffpir", steps=8),
    "classic": lambda case, _: ClosedFormRestorer(case, classic(case).restore),
    **{name: hybrid(name) for name, options in HYBRIDS.items() if options().restorer_path},
}

FITTING = {"dip", "guided", "self-diffusion", "sequential"}
"""Methods whose result is an untrained network's output."""


@pytest.mark.parametrize("name", RESTORERS)
@pytest.mark.parametrize("task", TASKS)
def test_restorer_has_images_of_cpu(name: str, task: str, device: torch.device) -> None:
    if name in HYBRIDS and not HYBRIDS[name].supports(parse_task(task)):
        pytest.skip(f"{name} doesn't restore this task")

    def restore(device: torch.device) -> Tensor:
        restorer = RESTORERS[name](case(task, shapes(2).to(device)), prior(device))
        for _ in restorer:
            pass
        return restorer.images.cpu()

    with double() if name in FITTING else contextlib.nullcontext():
        first, second = on_both(restore, device)
    assert first.std() > 0.05
    assert_close(first, second, 1e-5 if name in FITTING else 1e-2)


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_sampler_has_images_of_cpu(name: SamplerName, device: torch.device) -> None:
    def sample(device: torch.device) -> Tensor:
        sampling = Sampling(prior(device).denoiser(), solver(name), (4, 1, 12, 12), steps=10, device=device)
        for _ in sampling:
            pass
        return sampling.xt.cpu()

    first, second = on_both(sample, device)
    torch.testing.assert_close(second, first, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["tutorial", "unet"])
def test_network_has_outputs_of_cpu(name: str, device: torch.device) -> None:
    config = build("ddpm", settings={"ddpm.network": name, "unet.channels": "8,16"})
    assert isinstance(config, DdpmRun)
    torch.manual_seed(0)
    network = registry.network(name).for_images((1, 28, 28), config).eval()
    x, t = torch.randn(3, 1, 28, 28), torch.tensor([0, 500, 999])
    with exact(), torch.no_grad():
        first = network(x, t)
        second = network.to(device)(x.to(device), t.to(device))
    torch.testing.assert_close(second.cpu(), first, rtol=1e-3, atol=1e-4)


def test_dip_defaults_fit_on_device(device: torch.device) -> None:
    given = case("denoise:sigma=25", shapes(2, size=28).to(device))
    batch = PriorBatch(given.y, given.degradation, DipConfig(), (1, 28, 28))
    before = batch.loss.clone()
    for _ in range(20):
        batch.step_once()
    assert batch.restored.device.type == device.type
    assert torch.isfinite(batch.loss).all()
    assert (batch.loss != before).all()
