from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dipddpm.core import data
from dipddpm.core.compute import checkpoint
from dipddpm.core.config import HybridRun, build
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.degrade import Mask
from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.rows import DIP_MEAN
from dipddpm.core.events import (
    BestModel,
    Document,
    EpochFinished,
    Item,
    Message,
    PsnrMeasured,
    RestorationScored,
    Step,
    Tensors,
)
from dipddpm.core.experiments import dip_cache
from dipddpm.core.experiments.degraded_only import start
from dipddpm.core.experiments.degraded_only import training as em
from dipddpm.core.experiments.degraded_only.experiment import DegradedOnlyExperiment, build_training, split_clean
from dipddpm.core.experiments.degraded_only.rounds import Measured
from dipddpm.core.experiments.degraded_only.training import DegradedOnlyTraining
from dipddpm.core.experiments.given import load_batch
from dipddpm.core.images import to_model, to_unit
from dipddpm.core.launch import preflight
from dipddpm.core.methods import posterior_samples
from dipddpm.core.metrics.image import psnr
from dipddpm.core.runs import RunsFolder
from tests.core.methods.cases import case
from tests.core.steps import count_steps, resumed_at
from tests.helpers import Plain

TINY = {
    "data.train_images": 20,
    "images.indices": "0-2",
    "hybrid.rounds": 2,
    "hybrid.clean": 6,
    "hybrid.steps": 3,
    "hybrid.samples": 2,
    "ddpm.epochs": 2,
    "ddpm.batch_size": 8,
    "ddpm.timesteps": 20,
    "ddpm.evaluate": 0,
    "ddpm.samples": 2,
    "ddpm.sample_steps": 2,
    "unet.channels": "8",
    "unet.attention": 0,
    "dip.iterations": 4,
    "dip.channels": 4,
    "dip.scales": 1,
    "dip.stop": "never",
}
TASK = "inpaint:missing=0.5,sigma=10"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dip_cache, "CHUNK", 8)
    monkeypatch.setattr(start, "PART", 8)
    monkeypatch.setattr(posterior_samples, "PART", 8)


def config(task: str = TASK, **settings: Any) -> HybridRun:
    given = TINY | {key.replace("__", "."): value for key, value in settings.items()}
    made = build("hybrid", preset="degraded-only", task=task, settings=given)
    assert isinstance(made, HybridRun)
    return made


def training(made: HybridRun, train: data.ImageSet | None = None) -> DegradedOnlyTraining:
    own, clean = split_clean(made)
    return build_training(made, train or own, load_batch(made, 1), "cpu", clean=clean)


def comparable(item: Item, plain: Plain) -> Any:
    return item.tensors["restored"].tolist() if isinstance(item, Tensors) else plain(item)


class GaussianModel(nn.Module):
    """The ideal denoiser for N(mean, covariance) data; predicts x0."""

    def __init__(self, schedule: Schedule, size: int) -> None:
        super().__init__()
        self.schedule = schedule
        self.mean = nn.Parameter(torch.zeros(size))
        self.covariance = nn.Parameter(torch.eye(size))

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        a = self.schedule.alpha_bar.to(xt)[t[0]].sqrt()
        unit = torch.eye(len(self.mean))
        gain = a * self.covariance @ torch.linalg.inv(a**2 * self.covariance + (1 - a**2) * unit)
        x0: Tensor = (self.mean + (xt.flatten(1) - a * self.mean) @ gain.T).view_as(xt)
        return x0


class MomentFit:
    """A training that fits a `GaussianModel` exactly, by the moments of the images, in one step."""

    epoch = 0

    def __init__(self, network: GaussianModel, schedule: Schedule, images: Tensor, *_: Any, **__: Any) -> None:
        self.averaged, self.images = network, images

    def __iter__(self) -> Iterator[Step]:
        vectors = to_model(self.images).flatten(1)
        self.averaged.mean.data = vectors.mean(0)
        self.averaged.covariance.data = torch.cov(vectors.T, correction=0)
        yield Step(step=1)

    def __len__(self) -> int:
        return 1


def most_likely(y: NDArray[Any], mask: NDArray[Any], variance: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the mean and covariance of the Gaussian that maximises the likelihood of masked noisy vectors."""
    size = y.shape[1]
    mean, covariance, patterns = np.zeros(size), np.eye(size), np.unique(mask, axis=0)
    for _ in range(400):
        means, within = np.zeros_like(y), np.zeros((size, size))
        for pattern in patterns:
            known, chosen = pattern > 0, (mask == pattern).all(1)
            noisy = covariance[np.ix_(known, known)] + variance * np.eye(known.sum())
            gain = covariance[:, known] @ np.linalg.inv(noisy)
            means[chosen] = mean + (y[chosen] - mean)[:, known] @ gain.T
            within += chosen.sum() * (covariance - gain @ covariance[known])
        mean = means.mean(0)
        covariance = (means - mean).T @ (means - mean) / len(y) + within / len(y)
    return mean, covariance


@pytest.mark.slow
def test_training_converges_to_most_likely_gaussian(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle is EM in closed form, whose E-step is exact. Samples of MMPS in 100 steps vary a little too little."""
    task = "inpaint:missing=0.25,sigma=10"
    generator = torch.Generator().manual_seed(0)
    mixing = torch.tensor([[1.0, 0, 0, 0], [0.8, 0.6, 0, 0], [0.6, 0.0, 0.5, 0], [-0.5, 0.4, 0.3, 0.4]])
    truth = 0.5 + 0.15 * (torch.randn(1000, 4, generator=generator) @ mixing.T).view(-1, 1, 2, 2)
    made = config(
        task,
        hybrid__start="pinv",
        hybrid__rounds=10,
        hybrid__steps=100,
        ddpm__timesteps=1000,
        ddpm__objective="x0",
        ddpm__samples=0,
    )
    monkeypatch.setattr(posterior_samples, "PART", 1000)
    monkeypatch.setattr(em, "DdpmTraining", MomentFit)
    measured = case(task, truth)
    network = GaussianModel(Schedule.from_config(made.ddpm), 4)
    run = DegradedOnlyTraining(made, network, Measured(measured), Measured(measured.select([0, 1])))
    covariances = [item.network.covariance.detach().numpy() for item in run if isinstance(item, BestModel)]
    assert isinstance(measured.degradation.operator, Mask)
    mask = measured.degradation.operator.mask.flatten(1).numpy()
    y = to_model(measured.y).flatten(1).double().numpy()
    mean, expected = most_likely(y, mask, (2 * 10 / 255) ** 2)
    scale = expected.diagonal().mean()
    assert np.abs(covariances[0] - expected).max() > 2 * scale  # the moments of A+ y
    assert np.abs(covariances[-1] - expected).max() < 0.15 * scale
    assert np.abs(network.mean.detach().numpy() - mean).max() < 0.1 * scale**0.5


@pytest.mark.parametrize("name", ["dip", "classic", "pinv", "clean"])
def test_training_resumes_exactly(name: str, plain: Plain, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    folders = iter(range(1000))
    monkeypatch.setattr(dip_cache, "cache_folder", lambda: tmp_path / str(next(folders)))  # nothing is cached
    made = config(hybrid__start=name)
    whole = training(made)
    items = list(whole)
    assert [item.step for item in items if isinstance(item, Step)][-1] == len(whole) == whole.step
    resumed, last = resumed_at(lambda: training(made), range(1, count_steps(items), 3))
    assert [comparable(item, plain) for item in resumed] == [comparable(item, plain) for item in items]
    assert isinstance(last, DegradedOnlyTraining)
    assert torch.equal(last.images, whole.images)
    for one, other in zip(whole.network.parameters(), last.network.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["dip", "pinv"])
def test_training_never_reads_missing_pixels_or_truth(name: str) -> None:
    made = config(hybrid__start=name)
    one = training(made)
    list(one)
    train, _ = split_clean(made)
    mask = one.training.case.degradation.operator.measured(one.training.case.y)
    hidden = torch.where(mask > 0, train.images, 255 - train.images)
    other = training(made, replace(train, images=hidden))
    assert not torch.equal(other.training.truth, one.training.truth)  # type: ignore[arg-type]
    list(other)
    unknown = training(made)
    unknown.rounds.training = Measured(unknown.training.case)
    unknown.rounds.held_out = Measured(unknown.held_out.case)
    items = list(unknown)
    assert not [item for item in items if isinstance(item, PsnrMeasured)]
    for each in (other, unknown):
        assert torch.equal(each.images, one.images)
        for a, b in zip(each.network.parameters(), one.network.parameters(), strict=True):
            assert torch.equal(a, b)


def test_training_starts_at_the_start_and_goes_on_from_samples() -> None:
    made = config(hybrid__start="pinv")
    run = training(made)
    seen = [
        run._work.images.clone()  # type: ignore[union-attr]
        for item in run
        if isinstance(item, EpochFinished) and item.epoch % 2
    ]
    y = run.training.case.y
    assert torch.equal(seen[0], y)  # A+ y of missing pixels is zero
    mask = run.training.case.degradation.operator.measured(y)
    near = ((seen[1] - y).abs() * mask).max()
    assert 0 < near < 0.25  # samples agree with what was measured up to its noise
    assert len(seen) == 2


def test_training_takes_clean_images_that_no_round_degrades() -> None:
    made = config(hybrid__start="clean", data__train_images=0)
    train, clean = split_clean(made)
    whole = data.load("fashion-mini", "train").images
    assert clean is not None
    assert (len(train), len(clean)) == (1994, 6)
    assert torch.equal(torch.cat([train.images, clean.images]), whole)
    run = training(config(hybrid__start="clean"))
    for item in run:
        if isinstance(item, EpochFinished):
            assert torch.equal(run._work.images, clean.images.repeat(4, 1, 1, 1)[:20])  # type: ignore[union-attr]
            break


def test_experiment_trains_restores_and_scores(runs: RunsFolder) -> None:
    made = config()
    run = DegradedOnlyExperiment.from_config(made, "cpu")
    items = list(run)
    assert [item.epoch for item in items if isinstance(item, EpochFinished)] == [1, 2, 3, 4]
    assert [item.method for item in items if isinstance(item, RestorationScored)] == ["degraded-only", DIP_MEAN]
    table = [item.text for item in items if isinstance(item, Document)][-1].splitlines()
    assert table[0] == "round,training,held_out,frechet"
    sentences = [item.text for item in items if isinstance(item, Message) and item.text.startswith(("Start", "Round"))]
    assert [line.split(":")[0] for line in sentences] == ["Start dip", "Round 1 of 2", "Round 2 of 2"]
    assert isinstance(run.training, DegradedOnlyTraining)
    value = float(table[-1].split(",")[1])
    assert value == pytest.approx(float(psnr(run.training.images, to_unit(split_clean(made)[0].images)).mean()))
    folder = runs.create(made).folder
    best = [item for item in items if isinstance(item, BestModel)][-1]
    checkpoint.save(folder / "checkpoints" / "best.safetensors", best.tensors, best.network)
    model = TrainedModel.of_run(folder)  # the run is a prior for others
    xt, t = torch.randn(2, 1, 28, 28), torch.tensor([3, 10])
    with torch.no_grad():
        assert torch.equal(model.network(xt, t), run.training.network.eval()(xt, t))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"prior.run": "reference"}, "takes no trained prior"),
        ({"ddpm.hold_out": True}, "there are none"),
        ({"images.split": "train"}, "must not measure"),
        ({"hybrid.steps": 21}, "exceeds ddpm.timesteps"),
        ({"ddpm.conditional": True}, "learns no classes"),
    ],
)
def test_bad_options_are_refused_before_the_run(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        preflight.refuse(config(**settings))


def test_impulses_and_too_many_clean_images_are_refused() -> None:
    with pytest.raises(UserError, match="doesn't support the task"):
        config("denoise:noise=salt-and-pepper,hit=0.1")
    with pytest.raises(UserError, match="too few for 1,995 degraded and 6 clean ones"):
        DegradedOnlyExperiment.from_config(config(data__train_images=1995, hybrid__start="clean"), "cpu")
