from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import torch

from benchmarks import draws as stored
from benchmarks import quality
from benchmarks.draws import Draw, draws, steps_for
from benchmarks.quality import longest_ancestral, settings
from dipddpm.core import config as configs
from dipddpm.core import data
from dipddpm.core.config import DdpmRun
from dipddpm.core.config.ddpm import SamplerName
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.networks.unet import UNet
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.solvers import Ddim
from dipddpm.core.errors import UserError
from dipddpm.core.images import to_unit
from dipddpm.core.metrics.samples import evaluate


@pytest.fixture(scope="module")
def test_images() -> data.ImageSet:
    return data.load("fashion-mini", "test")


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    """Return a model of a tiny network with random weights."""
    config = configs.build("ddpm", settings={"ddpm.network": "unet", "unet.channels": "8", "ddpm.timesteps": 12})
    assert isinstance(config, DdpmRun)
    torch.manual_seed(0)
    network = UNet.for_images((1, 28, 28), config).eval()
    return TrainedModel(network, Schedule.from_config(config.ddpm), config.ddpm, torch.device("cpu"))


def draw(**values: object) -> Draw:
    given = {"sampler": "ddim", "steps": 5, "nfe": 5, "samples": 128, "seed": 0, "frechet": 1.0, "kernel": 0.1}
    return msgspec.convert({**given, "seconds": 1.0, "protocol": "", **values}, Draw)


def test_draws_cover_settings_and_seeds_within_nfe(model: TrainedModel, test_images: data.ImageSet) -> None:
    drawn = list(draws(model, test_images, samplers=["ddim", "heun"], nfe=[6, 3], samples=128, seeds=range(2)))
    assert [(d.sampler, d.steps, d.nfe, d.seed) for d in drawn] == [
        ("ddim", 3, 3, 0),
        ("ddim", 3, 3, 1),
        ("heun", 2, 3, 0),
        ("heun", 2, 3, 1),
        ("ddim", 6, 6, 0),
        ("ddim", 6, 6, 1),
        ("heun", 3, 5, 0),
        ("heun", 3, 5, 1),
    ]
    sampling = Sampling(model.denoiser(), Ddim(), (128, 1, 28, 28), steps=3, seed=1)
    list(sampling)
    frechet, kernel = evaluate(to_unit(sampling.xt), test_images, seed=1)
    assert (drawn[1].frechet, drawn[1].kernel, drawn[1].protocol) == (frechet.value, kernel.value, frechet.protocol)


def test_draws_have_options_of_sampler_and_copies(model: TrainedModel, test_images: data.ImageSet) -> None:
    options = msgspec.structs.replace(model.options, eta=1.0, restarts=2, restart_steps=1, restart_low=20.0)
    changed = replace(model, options=options)
    samplers: list[SamplerName] = ["ancestral", "dpm++", "restart"]
    drawn = list(
        draws(changed, test_images, samplers=samplers, nfe=[3, 9], samples=128, seeds=[7], training=test_images)
    )
    restart = {"restarts": 2, "restart_steps": 1, "restart_low": 20, "restart_high": options.restart_high}
    # Two restarts take four evaluations, and leave none for three and five for nine.
    assert [(d.sampler, d.options, d.steps, d.nfe) for d in drawn] == [
        ("ancestral", {}, 3, 3),
        ("dpm++", {"eta": 1}, 3, 3),
        ("ancestral", {}, 9, 9),
        ("dpm++", {"eta": 1}, 9, 9),
        ("restart", restart, 3, 9),
    ]
    assert all(set(d.copies) == {"pixels", "features"} and d.seed == 7 for d in drawn)
    again = draws(changed, test_images, samplers=samplers, nfe=[3, 9], samples=128, seeds=[7], known=drawn)
    assert list(again) == []
    other = draws(model, test_images, samplers=samplers, nfe=[3], samples=128, seeds=[7], known=drawn)
    assert [(d.sampler, d.options) for d in other] == [("dpm++", {})]


def test_draws_skip_known_draws(model: TrainedModel, test_images: data.ImageSet) -> None:
    known = [draw(steps=2, seed=0), draw(steps=2, seed=1), draw(steps=2, seed=2, samples=200)]
    todo = draws(model, test_images, samplers=["ddim"], nfe=[2], samples=128, seeds=range(3), known=known)
    assert [(d.seed, d.samples) for d in todo] == [(2, 128)]


@pytest.mark.parametrize(
    ("sampler", "nfe", "steps"), [("ddim", 5, 5), ("heun", 5, 3), ("heun", 20, 10), ("heun", 1, 1), ("dpm++", 50, 30)]
)
def test_steps_for_stays_within_nfe(sampler: str, nfe: int, steps: int) -> None:
    assert steps_for(sampler, nfe, timesteps=30) == steps  # type: ignore[arg-type]


def test_settings_summarise_by_sampler_and_cost() -> None:
    drawn = [draw(seed=seed, frechet=value) for seed, value in enumerate((1.0, 2.0, 6.0))]
    drawn += [draw(sampler="ancestral", nfe=nfe, frechet=nfe / 100) for nfe in (50, 1000)]
    summaries = settings(reversed(drawn))
    assert [(s.sampler, s.nfe, s.seeds) for s in summaries] == [
        ("ancestral", 50, 1),
        ("ancestral", 1000, 1),
        ("ddim", 5, 3),
    ]
    assert (summaries[2].frechet, summaries[2].frechet_std) == pytest.approx((3.0, 7.0**0.5))
    assert summaries[0].frechet_std == 0
    assert longest_ancestral(summaries) == summaries[1]
    assert longest_ancestral(summaries[2:]) is None
    restarts = [draw(sampler="restart", nfe=n, options={"restarts": n, "restart_low": 8.0}) for n in (9, 10)]
    assert [(s.options, s.nfe) for s in settings(restarts)] == [
        ("restarts=10, restart_low=8", 10),
        ("restarts=9, restart_low=8", 9),
    ]
    (curve,) = quality.plot(settings(restarts), 128).curves
    assert (curve.name, list(curve.x)) == ("restart low=8", [9, 10])
    plot = quality.plot(summaries, 128)
    assert [(curve.name, list(curve.x)) for curve in plot.curves] == [("ancestral", [50, 1000]), ("ddim", [5])]
    assert plot.levels == {"ancestral, 1000 NFE": 10.0}


def test_quality_load_refuses_draws_of_another_model(tmp_path: Path) -> None:
    path = tmp_path / "quality.json"
    assert stored.load(path, "abc", 128) == []
    stored.save(path, "abc", 128, [draw()])
    assert stored.load(path, "abc", 128) == [draw()]
    for model, samples in (("abd", 128), ("abc", 500)):
        with pytest.raises(UserError, match="draws of another model, or of 128 samples"):
            stored.load(path, model, samples)
    path.write_text("{}")
    with pytest.raises(UserError, match="can't be read"):
        stored.load(path, "abc", 128)
