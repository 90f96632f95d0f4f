from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dipddpm.core import data
from dipddpm.core.compute import checkpoint
from dipddpm.core.config import DdpmRun, build
from dipddpm.core.data.sources import load_training
from dipddpm.core.errors import UserError
from dipddpm.core.events import BestModel, DataLoaded, EpochFinished, Message, Pictures, SamplesEvaluated, Step
from dipddpm.core.experiments.ddpm import DdpmExperiment
from dipddpm.core.images import save_png, to_bytes
from tests.core.steps import count_steps, until_step
from tests.helpers import Plain

QUICK = {"data.dataset": "fashion-mini", "data.train_images": 6, "ddpm.epochs": 1, "ddpm.batch_size": 4}
QUICK |= {"ddpm.timesteps": 8, "ddpm.samples": 3}


def experiment(**settings: Any) -> DdpmExperiment:
    config = build("ddpm", settings=QUICK | {key.replace("__", "."): value for key, value in settings.items()})
    assert isinstance(config, DdpmRun)
    return DdpmExperiment.from_config(config, "cpu")


def test_ddpm_experiment_yields_items_in_order() -> None:
    run = experiment()
    started = run.started()
    items = list(run)
    kinds = [type(item) for item in items]
    training = [Step, BestModel, EpochFinished, Step]
    assert kinds == [DataLoaded, Pictures, Pictures, *training, *[Step] * 7, Pictures, Step]
    steps = [item.step for item in items if isinstance(item, Step)]
    assert steps == list(range(1, started.steps + 1))
    assert (run.step, run.epoch) == (started.steps, started.epochs)
    assert (started.images, started.parameters, started.method) == (6, 506_852, "tutorial")
    loaded = items[0]
    assert isinstance(loaded, DataLoaded)
    assert loaded.sha256 == data.load("fashion-mini", "train").take(range(6)).sha256


def test_ddpm_experiment_pictures_show_batch_forward_process_and_samples() -> None:
    batch, forward, samples = (item for item in experiment() if isinstance(item, Pictures))
    for picture in (batch, forward, samples):
        assert picture.images.shape[1:] == (1, 28, 28)
        assert picture.images.min() >= 0
        assert picture.images.max() <= 1
    assert len(batch.images) == 4
    assert len(samples.images) == 3
    assert len(forward.panels) == forward.columns == 5
    truth = {str(image.tolist()) for image in data.load("fashion-mini", "train").images[:6]}
    assert {str(image.tolist()) for image in to_bytes(batch.images)} < truth
    clean, *stages = forward.images[:5]
    assert str(to_bytes(clean).tolist()) in truth
    errors = [(stage - clean).square().mean().item() for stage in stages]
    assert 0 < errors[0] < errors[1] < errors[2] < errors[3]


DRIFTING = {"ddpm.timesteps": 1000, "ddpm.sample_steps": 4, "ddpm.sample_every": 1, "ddpm.epochs": 2}
"""An untrained network samples noise, whose means spread over about 157 / 28."""


def test_ddpm_experiment_warns_of_samples_out_of_range_and_shows_them_scaled() -> None:
    items = list(experiment(**DRIFTING))
    preview, final = (item.text for item in items if isinstance(item, Message))
    for text in (preview, final):
        assert text.startswith("The means of the samples spread over ")
        assert "those of the training images over 0." in text
        assert "The network tutorial can't see the brightness and contrast of its input" in text
    pictures = {item.name: item for item in items if isinstance(item, Pictures)}
    assert list(pictures)[-4:] == ["progress", "progress-scaled", "samples", "samples-scaled"]
    true, own = pictures["samples"], pictures["samples-scaled"]
    assert true.title == "Samples after epoch 2 (nfe 4), in true range: clipped to black and white"
    assert own.title.endswith("each scaled to its own range, as the published code shows them")
    assert pictures["progress-scaled"].numbered
    assert len(own.images) == 3
    assert own.images.amin((1, 2, 3)).tolist() == [0, 0, 0]
    assert own.images.amax((1, 2, 3)).tolist() == [1, 1, 1]


def test_ddpm_experiment_gives_no_cause_for_drift_of_unet() -> None:
    items = list(experiment(**DRIFTING | {"ddpm.network": "unet", "unet.channels": "8,8"}))
    (final,) = (item.text for item in items if isinstance(item, Message))
    assert "can't see" not in final
    assert final.endswith("A second picture shows each sample scaled to its own range.")
    assert "published" not in next(i.title for i in items if isinstance(i, Pictures) and i.name == "samples-scaled")


def test_ddpm_experiment_resumes_exactly(tmp_path: Path, plain: Plain) -> None:
    file = tmp_path / "last.safetensors"
    items = [plain(item) for item in experiment()]
    for stop_after in range(count_steps(items) + 1):
        stopped = experiment()
        before = [plain(item) for item in until_step(stopped, stop_after)]
        checkpoint.save(file, stopped.state_dict(), stopped.network)
        resumed = experiment()
        resumed.load_state_dict(checkpoint.load_state(file))
        assert resumed.step == stopped.step
        assert before + [plain(item) for item in resumed] == items


EVALUATED = {
    "ddpm.network": "unet",
    "unet.channels": "8,8",
    "ddpm.samples": 3,
    "ddpm.evaluate": 128,
    "ddpm.conditional": True,
    "ddpm.sampler": "dpm++",
    "ddpm.sample_steps": 2,
    "ddpm.sample_every": 1,
}


def test_ddpm_experiment_evaluates_samples_at_end() -> None:
    items = list(experiment(**EVALUATED))
    *_, samples, frechet, kernel, in_pixels, in_features, nearest, last = items
    assert isinstance(last, Step)
    assert isinstance(samples, Pictures)
    assert isinstance(nearest, Pictures)
    assert (samples.name, len(samples.images)) == ("samples", 3)
    assert (nearest.name, nearest.columns) == ("nearest", 3)
    assert torch.equal(to_bytes(nearest.images[::3][:3]), to_bytes(samples.images))
    for event in (frechet, kernel, in_pixels, in_features):
        assert isinstance(event, SamplesEvaluated)
        assert (event.samples, event.nfe) == (128, 2)
    assert isinstance(frechet, SamplesEvaluated)
    assert isinstance(in_pixels, SamplesEvaluated)
    assert "against the 500 test images of fashion-mini" in frechet.protocol
    assert "one of the 6 train images of fashion-mini" in in_pixels.protocol


@pytest.mark.parametrize("back", [0, 1, 2])
def test_ddpm_experiment_with_an_evaluator_resumes_after_any_step(back: int, tmp_path: Path, plain: Plain) -> None:
    whole = [plain(item) for item in experiment(**EVALUATED)]
    stopped = experiment(**EVALUATED)
    before = until_step(stopped, count_steps(whole) - back)
    checkpoint.save(tmp_path / "last.safetensors", stopped.state_dict(), stopped.network)
    resumed = experiment(**EVALUATED)
    resumed.load_state_dict(checkpoint.load_state(tmp_path / "last.safetensors"))
    assert [plain(item) for item in resumed] == whole[len(before) :]


def test_ddpm_experiment_refuses_impossible_evaluation_at_start(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="evaluate must be at least 128"):
        experiment(ddpm__evaluate=127)
    (tmp_path / "photos").mkdir()
    for number in range(10):
        save_png(tmp_path / "photos" / f"{number}.png", torch.rand(1, 3, 16, 16))
    with pytest.raises(UserError, match="28x28 grey images"):
        experiment(**EVALUATED | {"data.dataset": f"folder:{tmp_path / 'photos'}", "ddpm.conditional": False})


def test_ddpm_experiment_without_samples_ends_after_training() -> None:
    run = experiment(ddpm__samples=0)
    assert run.started().steps == 2
    assert isinstance(list(run)[-2], EpochFinished)


def test_ddpm_experiment_weights_depend_on_seed_alone() -> None:
    torch.manual_seed(1)
    one = experiment()
    before = torch.get_rng_state()
    two = experiment()
    assert torch.equal(torch.get_rng_state(), before)
    other = experiment(seed=1)
    weights = [run.network.get_parameter("out.weight") for run in (one, two, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_ddpm_experiment_holds_out_last_images_of_data_set() -> None:
    run = experiment(ddpm__hold_out=True)
    everything = data.load("fashion-mini", "train").images
    assert run.training.validator is not None
    assert torch.equal(run.training.validator.images, everything[-len(everything) // 10 :])
    assert torch.equal(run.training.images, everything[:6])
    items = list(run)
    assert [item.split for item in items if isinstance(item, DataLoaded)] == ["fit", "validation"]
    assert next(item.measure for item in items if isinstance(item, BestModel)) == "held_out"


UNET = {
    "ddpm__network": "unet",
    "unet__channels": "8,16",
    "ddpm__objective": "v",
    "ddpm__ema": 0.9,
    "ddpm__conditional": True,
    "ddpm__hold_out": True,
    "ddpm__sample_every": 1,
    "ddpm__epochs": 2,
    "ddpm__sampler": "dpm++",
    "ddpm__sample_steps": 4,
    "ddpm__decay": "cosine",
}


@pytest.mark.parametrize("stop_after", [1, 2, 3, 4, 6])
def test_ddpm_experiment_with_unet_resumes_exactly(stop_after: int, tmp_path: Path, plain: Plain) -> None:
    whole = [plain(item) for item in experiment(**UNET)]
    stopped = experiment(**UNET)
    before = until_step(stopped, stop_after)
    checkpoint.save(tmp_path / "last.safetensors", stopped.state_dict(), stopped.network)
    resumed = experiment(**UNET)
    resumed.load_state_dict(checkpoint.load_state(tmp_path / "last.safetensors"))
    assert [plain(item) for item in resumed] == whole[len(before) :]


def test_ddpm_experiment_progress_samples_use_averaged_weights() -> None:
    run = experiment(**UNET)
    items = list(run)
    progress = [item for item in items if isinstance(item, Pictures) and item.name == "progress"]
    assert [item.numbered for item in progress] == [True, True]
    assert not torch.equal(progress[0].images, progress[1].images)
    assert run.sampling.denoiser.network is run.training.averaged
    assert run.training.averaged is not run.network
    best = [item for item in items if isinstance(item, BestModel)]
    assert all(item.network is run.training.averaged and item.measure == "held_out" for item in best)
    assert run.sampling.nfe == 4
    assert run.sampling.denoiser.label is not None
    assert run.sampling.denoiser.label.tolist() == [0, 1, 2]


def test_ddpm_experiment_refuses_more_images_than_exist() -> None:
    with pytest.raises(UserError, match="has 2000 images to train on, not 3000"):
        experiment(data__train_images=3000)


def test_ddpm_experiment_refuses_images_network_cannot_take(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_png(tmp_path / f"{name}.png", torch.rand(3, 32, 32))
    with pytest.raises(UserError, match="28x28 grey"):
        experiment(data__dataset=f"folder:{tmp_path}", data__train_images=0)


def test_load_training_refuses_unknown_data_set() -> None:
    config = build("ddpm", settings={"data.dataset": "fashion-mist"})
    with pytest.raises(UserError):
        load_training(config.data, held_out=False)
