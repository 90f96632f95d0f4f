from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dipddpm.core.compute import checkpoint
from dipddpm.core.config import HybridRun, Substitution, build
from dipddpm.core.dip.hourglass import FittedHourglass, FrozenHourglass
from dipddpm.core.errors import UserError
from dipddpm.core.events import EpochFinished, Pictures, Step
from dipddpm.core.experiments.substitution import SubstitutionExperiment
from tests.core.steps import count_steps, until_step
from tests.helpers import Plain

READINGS = ["frozen", "fresh", "warm"]
QUICK = {"data.dataset": "fashion-mini", "data.train_images": 6, "ddpm.epochs": 2, "ddpm.batch_size": 4}
QUICK |= {"ddpm.timesteps": 4, "ddpm.samples": 5, "hybrid.steps": 2, "hybrid.channels": 4, "hybrid.picture_every": 1}


def experiment(reading: str, **settings: Any) -> SubstitutionExperiment:
    """Build a run of two epochs of two steps, with five samples, more than the hourglass's batch of four."""
    settings = {key.replace("__", "."): value for key, value in settings.items()}
    config = build("hybrid", method="substitution", settings=QUICK | {"hybrid.reading": reading} | settings)
    assert isinstance(config, HybridRun)
    return SubstitutionExperiment.from_config(config, "cpu")


def fitted(**options: Any) -> FittedHourglass:
    return FittedHourglass(Substitution(**options), (1, 12, 12), batch_size=4, seed=0, device="cpu")


@pytest.mark.parametrize("reading", READINGS)
def test_substitution_experiment_resumes_exactly(reading: str, tmp_path: Path, plain: Plain) -> None:
    file = tmp_path / "last.safetensors"
    whole = experiment(reading)
    items = [plain(item) for item in whole]
    for stop_after in range(1, count_steps(items) + 1, 2):
        stopped = experiment(reading)
        before = [plain(item) for item in until_step(stopped, stop_after)]
        checkpoint.save(file, stopped.state_dict(), stopped.network)
        resumed = experiment(reading)
        resumed.load_state_dict(checkpoint.load_state(file))
        assert before + [plain(item) for item in resumed] == items
        assert torch.equal(resumed.network.get_parameter("out.bias"), whole.network.get_parameter("out.bias"))


WITH_PREVIEWS = {"ddpm__sample_every": 1, "ddpm__samples": 2}


@pytest.mark.parametrize("reading", ["fresh", "warm"])
@pytest.mark.parametrize("stop_after", [1, 3])
def test_substitution_experiment_with_progress_resumes_exactly(
    reading: str, stop_after: int, tmp_path: Path, plain: Plain
) -> None:
    whole = [plain(item) for item in experiment(reading, **WITH_PREVIEWS)]
    shown = [item.name for item in whole if isinstance(item, Pictures)]
    assert shown == ["first-batch", "forward-process", *["seen", "progress"] * 2, "samples"]
    stopped = experiment(reading, **WITH_PREVIEWS)
    before = until_step(stopped, stop_after)
    checkpoint.save(tmp_path / "last.safetensors", stopped.state_dict(), stopped.network)
    resumed = experiment(reading, **WITH_PREVIEWS)
    resumed.load_state_dict(checkpoint.load_state(tmp_path / "last.safetensors"))
    assert [plain(item) for item in resumed] == whole[len(before) :]


@pytest.mark.parametrize("reading", READINGS)
def test_substitution_progress_samples_leave_training_unchanged(reading: str, plain: Plain) -> None:
    without, with_previews = (experiment(reading, **WITH_PREVIEWS | {"ddpm__sample_every": every}) for every in (0, 1))
    items = [plain(item) for item in with_previews]
    assert [item for item in items if getattr(item, "name", "") != "progress"] == [plain(item) for item in without]


@pytest.mark.parametrize("reading", READINGS)
def test_substitution_loss_never_reaches_hourglass(reading: str) -> None:
    """The draws of xt don't depend on the learning rate, so neither may the hourglass, which the loss never trains."""
    slow, fast = (experiment(reading, ddpm__samples=0, ddpm__lr=lr) for lr in (1e-4, 1e-2))
    losses = [[item.loss for item in run if isinstance(item, Step)] for run in (slow, fast)]
    assert losses[0] != losses[1]
    for one, other in zip(slow.hourglass.network.parameters(), fast.hourglass.network.parameters(), strict=True):
        assert torch.equal(one, other)
    trained = {id(p) for group in slow.training.optimizer.param_groups for p in group["params"]}
    assert not trained & {id(p) for p in slow.hourglass.network.parameters()}


def test_hourglass_output_carries_no_gradient() -> None:
    xt = torch.randn(3, 1, 12, 12)
    hourglasses: list[Callable[[Tensor], Tensor]] = [
        FrozenHourglass(Substitution(), (1, 12, 12), seed=0, device="cpu"),
        fitted(reading="warm"),
    ]
    for hourglass in hourglasses:
        output = hourglass(xt)
        assert output.shape == xt.shape
        assert not output.requires_grad
        assert output.abs().max() <= 1


@pytest.mark.parametrize("reading", ["fresh", "warm"])
def test_fitted_hourglass_approaches_xt_with_more_steps(reading: str) -> None:
    xt = torch.rand(4, 1, 12, 12) * 2 - 1
    errors = [(fitted(reading=reading, steps=steps)(xt) - xt).square().mean() for steps in (1, 10, 100)]
    assert errors[0] > errors[1] > errors[2]


def test_fitted_hourglass_fresh_restarts_and_warm_continues() -> None:
    xt = torch.rand(4, 1, 12, 12) * 2 - 1
    fresh, warm = fitted(reading="fresh", steps=20), fitted(reading="warm", steps=20)
    first, second = fresh(xt), fresh(xt)
    assert not torch.equal(first, second)
    error = (first - xt).square().mean().item()
    assert (second - xt).square().mean().item() == pytest.approx(error, rel=0.3)
    assert torch.equal(warm(xt), first)
    assert (warm(xt) - xt).square().mean() < 0.9 * error


def test_fitted_hourglass_takes_batches_of_any_size() -> None:
    xt = torch.randn(9, 1, 12, 12)
    hourglass = fitted(reading="warm", steps=1)
    assert hourglass(xt).shape == xt.shape
    assert hourglass.fits == 3


def test_substitution_loss_is_one_without_knowledge_of_eps() -> None:
    """A fitted hourglass whose weights hardly change has the same output for every xt."""
    run = experiment("warm", hybrid__lr=1e-30, ddpm__epochs=20, ddpm__samples=0, ddpm__timesteps=1000)
    losses = [item.loss for item in run if isinstance(item, EpochFinished)]
    # Over 10 epochs of 6 images of 784 pixels, the mean of eps^2 has a standard deviation of 0.007.
    assert sum(losses[-10:]) / 10 == pytest.approx(1, abs=0.03)


def test_substitution_pictures_show_xt_and_hourglass_output() -> None:
    run = experiment("frozen", hybrid__picture_every=2, ddpm__epochs=3, ddpm__samples=0)
    shown = [item for item in run if isinstance(item, Pictures) and item.name == "seen"]
    assert [item.title[-7:] for item in shown] == ["epoch 1", "epoch 3"]
    for item in shown:
        assert item.numbered
        assert item.panels == ("xt", "seen")
        assert item.images.shape == (4, 1, 28, 28)  # xt and the hourglass's output for the two images of the last batch
        assert item.images[0].std() > item.images[1].std()


@pytest.mark.parametrize(("options", "remedy"), [({"hybrid__lr": 1e30}, "hybrid.lr"), ({"ddpm__lr": 1e30}, "ddpm.lr")])
def test_substitution_names_learning_rate_that_spoils_the_loss(options: dict[str, float], remedy: str) -> None:
    with pytest.raises(UserError, match=r"not finite|nan|inf") as raised:
        list(experiment("fresh", **options))
    assert remedy in raised.value.remedy


def test_substitution_experiment_refuses_hold_out() -> None:
    with pytest.raises(UserError, match="hold"):
        experiment("frozen", ddpm__hold_out=True)


def test_fit_outputs_match_fits_of_fewer_steps() -> None:
    xt = torch.rand(4, 1, 12, 12) * 2 - 1
    for steps, output in zip((1, 3, 5), fitted(reading="fresh").fit_outputs(xt, (1, 3, 5)), strict=True):
        assert torch.equal(output, fitted(reading="fresh", steps=steps)(xt))
