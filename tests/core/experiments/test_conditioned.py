from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dipddpm.core import events
from dipddpm.core.compute import checkpoint
from dipddpm.core.compute.rng import derive
from dipddpm.core.config import DdpmConfig, DdpmRun, HybridRun, build
from dipddpm.core.config.hybrid import Conditioned
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.networks.unet import UNet
from dipddpm.core.ddpm.training import DdpmTraining
from dipddpm.core.degrade import degrade
from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.rows import DDPM_MEAN, DIP_MEAN
from dipddpm.core.events import BestModel, EpochFinished, Pictures, RestorationScored, Step
from dipddpm.core.experiments import dip_cache
from dipddpm.core.experiments.conditioned import ConditionedExperiment, ConditionedTraining
from dipddpm.core.images import to_model, to_unit
from dipddpm.core.methods.conditioned import ConditionedRestorer
from dipddpm.core.methods.starts import noise_levels, normalize
from dipddpm.core.runs import RunsFolder
from tests.core.methods.cases import SCHEDULE, SMALL, assert_resumes_exactly, case, shapes
from tests.core.steps import until_step
from tests.helpers import Plain

TINY = {
    "data.dataset": "fashion-mini",
    "images.indices": "0-1",
    "hybrid.bank": 20,
    "hybrid.steps": 3,
    "hybrid.samples": 2,
    "ddpm.network": "unet",
    "ddpm.epochs": 2,
    "ddpm.batch_size": 8,
    "ddpm.timesteps": 20,
    "unet.channels": "8",
    "unet.attention": 0,
    "dip.iterations": 4,
    "dip.channels": 4,
    "dip.scales": 1,
    "dip.stop": "never",
}
TASK = "inpaint:missing=0.5,sigma=10"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dip_cache, "CHUNK", 8)


@pytest.fixture
def prior(runs: RunsFolder) -> Path:
    """Create a run whose best model is a tiny random network; return its folder."""
    config = build("ddpm", settings={k: v for k, v in TINY.items() if k[:4] in {"ddpm", "unet", "data"}})
    assert isinstance(config, DdpmRun)
    run = runs.create(config)
    torch.manual_seed(0)
    network = UNet.for_images((1, 28, 28), config)
    torch.nn.init.normal_(network.out.weight, std=0.1)
    checkpoint.save(run.folder / "checkpoints" / "best.safetensors", {}, network)
    return run.folder


def config(prior: Path | str, **settings: Any) -> HybridRun:
    given = TINY | {"prior.run": str(prior)} | {key.replace("__", "."): value for key, value in settings.items()}
    made = build("hybrid", method="conditioned", task=TASK, settings=given)
    assert isinstance(made, HybridRun)
    return made


def training(prior: Path, **settings: Any) -> ConditionedTraining:
    made = ConditionedExperiment.from_config(config(prior, **settings), "cpu").training
    assert isinstance(made, ConditionedTraining)
    return made


def model(network: UNet) -> TrainedModel:
    options = build("ddpm", settings={"ddpm.network": "unet"})
    assert isinstance(options, DdpmRun)
    return TrainedModel(network, SCHEDULE, options.ddpm, torch.device("cpu"))


def conditioned_network() -> UNet:
    """Build a tiny random network for 12x12 images, whose output depends on its conditioning channel."""
    torch.manual_seed(0)
    network = UNet((1, 12, 12), channels=(8,), attention=0, beside=1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network.eval()


def test_with_cond_channels_preserves_prediction() -> None:
    torch.manual_seed(0)
    network = UNet((1, 12, 12), channels=(8, 16))
    torch.nn.init.normal_(network.out.weight)
    xt, t = torch.randn(3, 1, 12, 12), torch.tensor([0, 10, 500])
    for cond in (torch.zeros(3, 2, 12, 12), torch.randn(3, 2, 12, 12)):
        extended = network.with_cond_channels(2)
        assert torch.allclose(extended(torch.cat([xt, cond], 1), t), network(xt, t), atol=1e-5)
    assert extended.arguments == network.arguments | {"beside": 2}


def test_denoiser_splits_cond_with_batch() -> None:
    xt, cond = torch.randn(2, 5, 1, 12, 12).unbind()
    whole, parts = (Denoiser(conditioned_network(), SCHEDULE, cond=cond, batch_size=size) for size in (5, 2))
    with torch.no_grad():
        for one, other in zip(whole(xt, 300), parts(xt, 300), strict=True):
            assert torch.allclose(one, other, atol=1e-5)


def test_ddpm_training_with_cond_lowers_loss() -> None:
    """A network that gets x0 as conditioning can compute the noise exactly; with x0 of other images, it can't."""
    truth = shapes(32)
    images = (truth * 255).to(torch.uint8)
    losses = {}
    for name, cond in {"own": truth, "others'": truth.roll(1, 0)}.items():
        torch.manual_seed(0)
        network = UNet((1, 12, 12), channels=(16,), attention=0, patch=1).with_cond_channels(1)
        options = DdpmConfig(epochs=40, batch_size=16, lr=3e-3, stratified=True)
        fit = DdpmTraining(network, SCHEDULE, images, options, cond=to_model(cond))
        *_, losses[name] = [item.loss for item in fit if isinstance(item, EpochFinished)]
    assert losses["own"] < 0.75 * losses["others'"]


@pytest.mark.parametrize("kind", ["dip", "pinv"])
def test_conditioned_training_uses_result_of_each_image(kind: str, prior: Path) -> None:
    made = training(prior, **{"hybrid.beside": kind}, ddpm__epochs=1)
    steps = [item.step for item in made if isinstance(item, Step)]
    assert steps[-1] == made.started().steps == made.step
    # The bank's fits and its end, then the training.
    assert len(steps) == (16 + 1 if kind == "dip" else 0) + 3
    for images, cond in zip(made.sets, made.cond, strict=True):
        seeds = [derive(derive(0, "bank"), f"bank measurement of {images.split} {i}") for i in range(len(images))]
        y, degradation = degrade(made.config.task, to_unit(images.images), seeds)
        if kind == "pinv":
            assert torch.equal(cond, to_model(degradation.operator.pinv(y)))
        else:
            fitted = dict(zip(("fit", "validation"), (b.results for b in made.banks), strict=True))
            assert torch.equal(cond, to_model(fitted[images.split]))
    assert made.training.cond is made.cond[0]
    assert made.training.validator is not None
    assert torch.equal(made.training.validator.images, made.sets[1].images)


@pytest.mark.parametrize("stop_after", [1, 3, 8, 11, 13, 16, 18])
def test_conditioned_training_resumes_exactly(
    stop_after: int, prior: Path, tmp_path: Path, plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_own_cache(name: str) -> ConditionedTraining:
        """Build the training with an empty cache, so that it must fit every image itself."""
        monkeypatch.setattr(dip_cache, "cache_folder", lambda: tmp_path / name)
        return training(prior)

    whole = with_own_cache("whole")
    items = [plain(item) for item in whole]
    stopped = with_own_cache("stopped")
    before = until_step(stopped, stop_after)
    checkpoint.save(tmp_path / "last.safetensors", stopped.state_dict())
    resumed = with_own_cache("resumed")
    resumed.load_state_dict(checkpoint.load_state(tmp_path / "last.safetensors"))
    assert resumed.step == stopped.step
    assert [plain(item) for item in resumed] == items[len(before) :]
    for one, other in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("kind", "sampler"), [("dip", "diffpir"), ("dip", "dpm++"), ("pinv", "ddnm")])
@pytest.mark.parametrize("normalized", [False, True])
def test_conditioned_restorer_resumes_exactly(kind: str, sampler: str, normalized: bool) -> None:
    options = Conditioned(conditioning=kind, sampler=sampler, steps=4, samples=3, normalized=normalized)  # type: ignore[arg-type]
    known = case(TASK, shapes(3))
    whole = ConditionedRestorer(known, model(conditioned_network()), options, SMALL)
    items = list(whole)
    assert (whole.nfe, whole.iterations) == (12, 24 if kind == "dip" else 0)
    assert_resumes_exactly(
        lambda: ConditionedRestorer(known, model(conditioned_network()), options, SMALL),
        list(range(0, len(items) + 1, 3)),
    )


def test_conditioned_restorer_samples_follow_cond() -> None:
    """If the network predicts the conditioning image as x0, every sample equals the conditioning image."""

    class Copying(torch.nn.Module):
        def forward(self, inputs: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            del t
            return inputs[:, 1:]

    known = case(TASK, shapes(2))
    options = build("ddpm", settings={"ddpm.objective": "x0"})
    assert isinstance(options, DdpmRun)
    copying = TrainedModel(Copying(), SCHEDULE, options.ddpm, torch.device("cpu"))
    restorer = ConditionedRestorer(known, copying, Conditioned(sampler="dpm++", steps=5, samples=3), SMALL)
    list(restorer)
    assert restorer.fit is not None
    assert torch.allclose(restorer.images, torch.stack(restorer.fit.restored), atol=1e-5)


@pytest.mark.parametrize("sampler", ["dpm++", "ddnm", "diffpir"])
@pytest.mark.parametrize("kind", ["dip", "pinv"])
def test_normalized_sampler_returns_the_truth_of_an_all_knowing_network(kind: str, sampler: str) -> None:
    """The network returns (truth - start) / level; a wrong measurement or noise level would pull it away from there."""
    truth = shapes(2)
    known = case("inpaint:missing=0.5", truth)

    class Knowing(torch.nn.Module):
        remainder = torch.zeros(0)

        def forward(self, inputs: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            del inputs, t
            return self.remainder

    options = build("ddpm", settings={"ddpm.objective": "x0"})
    assert isinstance(options, DdpmRun)
    network = Knowing()
    knowing = TrainedModel(network, SCHEDULE, options.ddpm, torch.device("cpu"))
    hybrid = Conditioned(conditioning=kind, sampler=sampler, normalized=True, steps=5, samples=3)  # type: ignore[arg-type]
    restorer = ConditionedRestorer(known, knowing, hybrid, SMALL)
    if restorer.fit is not None:
        list(restorer.fit)
    start = restorer.images
    network.remainder = normalize(truth, start, noise_levels(known, start)).repeat_interleave(3, 0)
    list(restorer)
    assert (start - truth).abs().max() > 0.05
    torch.testing.assert_close(restorer.images, truth, atol=2e-3, rtol=0)


@pytest.mark.parametrize("kind", ["dip", "pinv"])
def test_normalized_training_models_what_the_start_lacks(kind: str, prior: Path) -> None:
    made = training(prior, **{"hybrid.beside": kind, "hybrid.normalized": True}, ddpm__epochs=1)
    list(made)
    for images, cond, target, bank in zip(made.sets, made.cond, made.targets, made.banks, strict=True):
        levels = noise_levels(bank.case, to_unit(cond)).view(-1, 1, 1, 1)
        restored = to_unit(cond) + levels * to_model(target)
        torch.testing.assert_close(restored, to_unit(images.images), atol=1e-5, rtol=0)
    assert made.training.images is made.targets[0]


def test_conditioned_experiment_trains_restores_and_scores(prior: Path, tmp_path: Path) -> None:
    run = ConditionedExperiment.from_config(config(prior), "cpu")
    items = list(run)
    assert [item.epoch for item in items if isinstance(item, EpochFinished)] == [1, 2]
    methods = [item.method for item in items if isinstance(item, RestorationScored)]
    assert methods == ["conditioned", DIP_MEAN, DDPM_MEAN]
    loaded = [item for item in items if isinstance(item, events.PriorLoaded)]
    assert [item.run for item in loaded] == [prior.name]
    best = [item for item in items if isinstance(item, BestModel)]
    assert [item.measure for item in best][-1] == "residual"
    checkpoint.save(tmp_path / "best.safetensors", best[-1].tensors, best[-1].network)
    again = checkpoint.load(tmp_path / "best.safetensors")
    assert isinstance(again, UNet)
    assert again.arguments["beside"] == 1
    assert {item.name for item in items if isinstance(item, Pictures)} >= {"restored", "spread"}
    (spread,) = [item for item in items if isinstance(item, events.SpreadMeasured)]
    assert (spread.method, spread.samples) == ("conditioned", 2)


def test_conditioned_experiment_without_prior_has_dip_baseline_only() -> None:
    run = ConditionedExperiment.from_config(config("", ddpm__epochs=1), "cpu")
    methods = [item.method for item in run if isinstance(item, RestorationScored)]
    assert methods == ["conditioned", DIP_MEAN]


def test_conditioned_experiment_refuses_large_bank_and_other_network(prior: Path) -> None:
    with pytest.raises(UserError, match="too few for a bank of 1801"):
        ConditionedExperiment.from_config(config(prior, hybrid__bank=1801), "cpu")
    with pytest.raises(UserError, match="Only the U-Net can take conditioning images"):
        ConditionedExperiment.from_config(config("", ddpm__network="tutorial"), "cpu")
