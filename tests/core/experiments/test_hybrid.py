"""A hybrid run: its items and their order, its independence of the truth, and its exact resume after any step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, cast

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from dipddpm.core import config as configs
from dipddpm.core import events, registry
from dipddpm.core.config import DipConfig, HybridRun
from dipddpm.core.config.hybrid import Guided, HybridOptions
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade.case import Case
from dipddpm.core.errors import UserError
from dipddpm.core.events import DataLoaded, Input, Item, PriorLoaded, PsnrMeasured, RestorationScored, Step
from dipddpm.core.experiments.hybrid import HybridExperiment
from dipddpm.core.methods.budget import TimeBudget
from dipddpm.core.methods.diffusion import DdpmRestorer
from dipddpm.core.methods.dip import DipRestorer
from dipddpm.core.metrics.image import psnr
from dipddpm.core.runs import Run
from tests.core.steps import count_steps, resumed_at

TINY = {
    "data.dataset": "fashion-mini",
    "data.train_images": 64,
    "images.indices": "0-1",
    "ddpm.timesteps": 20,
    "ddpm.samples": 0,
    "ddpm.hold_out": False,
    "dip.iterations": 6,
    "dip.channels": 4,
    "dip.measure_every": 3,
    "dip.stop": "never",
}


class Halfway(HybridOptions, tag="halfway", frozen=True):
    """The mean of both baselines, the simplest possible hybrid."""

    restorer_path: ClassVar[str] = "halfway"


class HalfwayRestorer:
    """A DIP fit, then a diffusion sample; the restoration is their mean."""

    spread = None

    def __init__(self, case: Case, prior: TrainedModel, options: Halfway, dip: DipConfig) -> None:
        self.parts = (DipRestorer(case, dip), DdpmRestorer(case, prior, method="ddnm", steps=4))
        self.done = 0

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __iter__(self) -> Any:
        for part in self.parts:
            for item in part:
                if isinstance(item, Step):
                    self.done += 1
                    yield msgspec.structs.replace(item, step=self.done)

    @property
    def images(self) -> Tensor:
        return (self.parts[0].images + self.parts[1].images) / 2

    @property
    def nfe(self) -> int:
        return self.parts[1].nfe

    @property
    def iterations(self) -> int:
        return self.parts[0].iterations

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts], "done": self.done}

    def load_state_dict(self, state: Any) -> None:
        self.done = state["done"]
        self.parts[0].load_state_dict(state["parts"][0])
        self.parts[1].load_state_dict(state["parts"][1])


@pytest.fixture(autouse=True)
def halfway(monkeypatch: pytest.MonkeyPatch) -> None:
    real = registry.resolve
    monkeypatch.setattr(registry, "resolve", lambda path: HalfwayRestorer if path == "halfway" else real(path))


@pytest.fixture(scope="module")
def prior(train_prior: Callable[[dict[str, Any]], Run]) -> Run:
    """Train a tiny prior in a run."""
    settings = {key: value for key, value in TINY.items() if key.startswith(("data.", "ddpm."))}
    return train_prior(settings)


Build = Callable[..., HybridExperiment]


@pytest.fixture
def build(prior: Run) -> Build:
    def make(*, task: str = "inpaint:missing=0.5,sigma=10", **settings: Any) -> HybridExperiment:
        given = {"prior.run": str(prior.folder), **TINY, **{k.replace("__", "."): v for k, v in settings.items()}}
        config = cast(HybridRun, configs.build("hybrid", task=task, settings=given))
        return HybridExperiment.from_config(msgspec.structs.replace(config, hybrid=Halfway()), "cpu")

    return make


def of(kind: type, items: list[Item]) -> list[Any]:
    return [item for item in items if isinstance(item, kind)]


def test_hybrid_experiment_restores_and_scores_both_baselines(build: Build, prior: Run) -> None:
    experiment = build()
    items = list(experiment)
    (taken,) = of(events.PriorLoaded, items)
    assert (taken.run, taken.sha256) == (prior.id, of(events.BestModelStored, list(prior.events()))[-1].sha256)
    assert [picture.name for picture in of(events.Pictures, items)] == ["restored"]
    scores = of(RestorationScored, items)
    assert [(s.method, s.budget_of) for s in scores] == [
        ("halfway", ""),
        ("dip-mean", "halfway"),
        ("ddpm-mean", "halfway"),
    ]
    assert (scores[0].nfe, scores[0].iterations, scores[0].seconds > 0) == (4, 6, True)
    (best,) = of(events.BestModel, items)
    assert best.network is None
    (restored,) = of(events.RestoredImages, items)
    assert restored.names == [f"{experiment.config.images.split}-{i}" for i in experiment.config.images.image_indices()]
    assert torch.equal(torch.stack(restored.restored), best.tensors["restored"])
    assert torch.equal(torch.stack(restored.degraded), experiment.case.y)
    assert experiment.truth is not None
    assert scores[0].psnr == psnr(best.tensors["restored"], experiment.truth).tolist()
    assert scores[0].psnr == of(PsnrMeasured, items)[-1].psnr
    assert experiment.step == experiment.started().steps


def test_hybrid_that_averages_samples_stores_their_spread(prior: Run) -> None:
    settings = {"prior.run": str(prior.folder), **TINY, "hybrid.samples": 3, "hybrid.steps": 2}
    config = configs.build("hybrid", method="prior-init", task="inpaint:missing=0.5,sigma=10", settings=settings)
    experiment = HybridExperiment.from_config(cast(HybridRun, config), "cpu")
    items = list(experiment)
    (measured,) = of(events.SpreadMeasured, items)
    (best,) = of(events.BestModel, items)
    assert (measured.samples, len(measured.half), measured.wide_level) == (3, 2, 0.5)
    deviation = best.tensors["spread"].double().numpy()
    assert measured.spread == pytest.approx(255 * np.sqrt((deviation**2).mean((1, 2, 3))), rel=1e-4)
    pictures = of(events.Pictures, items)
    assert [picture.name for picture in pictures] == ["restored", "spread"]
    assert torch.equal(pictures[1].images[::3], best.tensors["restored"].clamp(0, 1))
    again, _ = resumed_at(lambda: HybridExperiment.from_config(cast(HybridRun, config), "cpu"), [3, 9, 13])
    assert of(events.SpreadMeasured, again) == [measured]


def test_hybrid_experiment_steps_rise_and_psnr_follows_interval(build: Build) -> None:
    items = list(build())
    steps = [item.step for item in items if isinstance(item, Step)]
    assert steps == sorted(steps)
    assert [item.step for item in of(PsnrMeasured, items)] == [3, 6, 9, 10]


def test_hybrid_experiment_with_epochs_trains_prior_and_uses_best(build: Build) -> None:
    experiment = build(prior__run="", ddpm__epochs=3, ddpm__lr=0.05)
    items = list(experiment)
    kinds = [type(item) for item in items]
    assert kinds.index(events.EpochFinished) < kinds.index(PsnrMeasured)
    assert len(of(events.EpochFinished, items)) == 3
    trained, restored = of(events.BestModel, items)[-2:]
    assert (trained.measure, restored.measure) == ("loss", "residual")
    assert experiment.training is not None
    # The restoration uses the network that was stored as the best, not the last one.
    best_epoch = [item.epoch for item in of(events.EpochFinished, items) if item.best][-1]
    same = all(
        torch.equal(a, b)
        for a, b in zip(restored.network.parameters(), experiment.training.network.parameters(), strict=True)
    )
    assert same == (best_epoch == 3)


def test_hybrid_experiment_scores_posterior_mean_when_denoising(build: Build) -> None:
    scores = of(RestorationScored, list(build(task="denoise:sigma=50,blind=true")))
    assert [s.method for s in scores] == ["halfway", "dip-mean", "ddpm-mean", "posterior-mean"]
    assert (scores[-1].nfe, scores[-1].runs, scores[-1].budget_of) == (1, 1, "")


def comparable(items: list[Item]) -> list[Any]:
    """Return the items that don't depend on the clock: all up to the hybrid's score, without the baselines."""
    kinds = (Step, PsnrMeasured, events.EpochFinished)
    cut = next((i for i, item in enumerate(items) if isinstance(item, RestorationScored)), len(items))
    without_times = {"seconds": 0.0, "images_per_second": None}
    return [
        msgspec.structs.replace(item, **{k: v for k, v in without_times.items() if hasattr(item, k)})
        for item in items[: cut + 1]
        if isinstance(item, (*kinds, RestorationScored))
    ]


@pytest.mark.parametrize("train", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_hybrid_experiment_resumes_exactly_after_any_step(build: Build, train: bool) -> None:
    options = {"prior__run": "", "ddpm__epochs": 2, "data__train_images": 200} if train else {}
    whole = list(build(**options))
    count = count_steps(whole)
    items, _ = resumed_at(lambda: build(**options), sorted({*range(1, count, max(1, count // 7)), count}))
    assert comparable(items) == comparable(whole)
    assert [s.method for s in of(RestorationScored, items)] == ["halfway", "dip-mean", "ddpm-mean"]


@pytest.mark.parametrize("train", [False, True])
def test_hybrid_experiment_yields_its_inputs(build: Build, train: bool) -> None:
    experiment = build(**({"prior__run": "", "ddpm__epochs": 1, "data__train_images": 64} if train else {}))
    opening = list(itertools.takewhile(lambda item: not isinstance(item, Step), experiment))
    loaded = [item for item in opening if isinstance(item, Input)]
    assert loaded == list(experiment.inputs)
    assert [type(item) for item in loaded] == ([DataLoaded, DataLoaded] if train else [PriorLoaded, DataLoaded])


def test_hybrid_experiment_result_ignores_truth(build: Build) -> None:
    experiment, restored = build(), []
    other = build()
    assert other.truth is not None
    other.truth = 1 - other.truth
    for one in (experiment, other):
        (best,) = of(events.BestModel, list(one))
        restored.append(best.tensors["restored"])
    assert torch.equal(*restored)


def test_hybrid_experiment_refuses_images_of_other_size(build: Build, tmp_path: Path) -> None:
    from dipddpm.core.images import save_png

    save_png(tmp_path / "wide.png", torch.rand(1, 1, 28, 32))
    with pytest.raises(UserError, match="28x28"):
        build(images__files=(str(tmp_path / "wide.png"),))


def test_hybrid_config_refuses_task_unsupported_by_method(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guided, "tasks", frozenset({"denoise"}))
    with pytest.raises(UserError, match="guided doesn't support the task superres:factor=2"):
        configs.build("hybrid", method="guided", task="superres")


def spoil(monkeypatch: pytest.MonkeyPatch, value: float, images: list[int]) -> None:
    """Make the hybrid return this value everywhere in the images of these indices."""
    original: Callable[[HalfwayRestorer], Tensor] = vars(HalfwayRestorer)["images"].fget

    def spoilt(restorer: HalfwayRestorer) -> Tensor:
        restored = original(restorer).clone()
        restored[images] = value
        return restored

    monkeypatch.setattr(HalfwayRestorer, "images", property(spoilt))


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_hybrid_fails_if_no_restored_image_is_finite(
    build: Build, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    spoil(monkeypatch, value, [0, 1])
    with pytest.raises(UserError, match=r"2 of 2 restored images .* Lower dip.lr"):
        list(build())


def test_hybrid_warns_of_restored_image_that_is_not_finite(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = of(RestorationScored, list(build()))[0].psnr
    spoil(monkeypatch, math.nan, [1])
    items = list(build())
    blind, warning = [item.text for item in of(events.Message, items) if item.level == "warning"]
    assert blind.startswith("The network of the prior, tutorial, can't see the brightness and contrast of its input")
    assert warning.startswith("1 of 2 restored images are not finite. Lower dip.lr")
    scored = of(RestorationScored, items)[0].psnr
    assert (scored[0], math.isnan(scored[1])) == (undisturbed[0], True)


def test_baseline_that_is_not_finite_has_failed(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mean PSNR would be NaN, with which no best baseline can be chosen, so there is no gain either."""
    experiment = build()
    baseline = next(phase for phase in experiment.comparing if phase.method == "ddpm-mean")
    begin = baseline.begin

    def begin_spoilt() -> TimeBudget:
        budget = begin()
        monkeypatch.setattr(budget, "_record_reached", lambda: record(budget))
        return budget

    def record(budget: TimeBudget) -> None:
        type(budget)._record_reached(budget)
        for cost in budget.reached:
            cost.images.fill_(math.nan)

    baseline.begin = begin_spoilt
    items = list(experiment)
    (missing,) = of(events.RestorationMissing, items)
    assert (missing.method, missing.failed) == ("ddpm-mean", True)
    assert missing.why == "2 of 2 restored images are not finite."
    assert not [scored for scored in of(RestorationScored, items) if scored.method == "ddpm-mean"]
    assert all(compared.gain is None for compared in of(events.RestorationsCompared, items))
    again = build()
    again.load_state_dict(experiment.state_dict())
    assert [phase.scored for phase in again.comparing] == [phase.scored for phase in experiment.comparing]
