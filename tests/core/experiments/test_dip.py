from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from dipddpm.core.compute import checkpoint
from dipddpm.core.config import DipRun, build
from dipddpm.core.dip.ensemble import bytes_per_image
from dipddpm.core.errors import UserError
from dipddpm.core.events import BestModel, DataLoaded, Event, Pictures, RestoredImages, Step, StopsCompared, Tensors
from dipddpm.core.experiments.dip import DipExperiment
from dipddpm.core.images import save_png, to_bytes
from tests.core.steps import until_step

TINY = {
    "data.dataset": "fashion-mini",
    "images.split": "train",
    "images.indices": "3,1",
    "dip.iterations": 6,
    "dip.channels": 4,
    "dip.input_channels": 4,
    "dip.window": 2,
    "dip.patience": 50,
    "dip.measure_every": 3,
    "dip.picture_every": 4,
}


def experiment(task: str = "denoise", **settings: Any) -> DipExperiment:
    dotted = {key.replace("__", "."): value for key, value in settings.items()}
    config = build("dip", task=task, settings=TINY | dotted)
    assert isinstance(config, DipRun)
    return DipExperiment.from_config(config, "cpu")


@pytest.mark.parametrize(
    "task",
    [
        "denoise:sigma=25",
        "denoise:noise=poisson",
        "denoise:noise=salt-and-pepper",
        "inpaint:missing=0.7,sigma=10",
        "inpaint:box=8",
        "superres:factor=2",
        "superres:factor=4,sigma=2",
        "deblur:kernel=gaussian",
        "deblur:kernel=motion,width=5,angle=20,sigma=2",
    ],
)
@pytest.mark.parametrize("network", ["skip", "decoder"])
def test_dip_experiment_runs_every_task_to_image_at_stop(task: str, network: str) -> None:
    run = experiment(task, dip__network=network)
    items = list(run)
    assert isinstance(items[0], DataLoaded)
    assert isinstance(items[1], Tensors)
    assert items[0].images == 2
    compared = next(item for item in items if isinstance(item, StopsCompared))
    assert len(compared.psnr) == 2
    best, final, restored, last = items[-4:]
    assert isinstance(last, Step)
    assert isinstance(best, BestModel)
    assert isinstance(final, Pictures)
    assert isinstance(restored, RestoredImages)
    assert restored.names == ["train-3", "train-1"]
    assert all(torch.equal(a, b) for a, b in zip(restored.restored, best.tensors["restored"], strict=True))
    assert torch.equal(torch.stack(restored.degraded), torch.stack(list(items[1].tensors["y"])))
    known, impulses = run.config.task.has_noise_level(), run.config.task.noise == "salt-and-pepper"
    assert best.measure == ("discrepancy" if known else "held-out" if impulses else "variance")
    assert torch.equal(final.images[1], best.tensors["restored"][0])
    assert len(final.images) == 6
    assert run.step == run.started().steps == 6


def test_dip_experiment_noise_is_independent_of_other_images() -> None:
    runs = (experiment(images__indices="1"), experiment())
    alone, with_another = (next(item for item in run if isinstance(item, Tensors)).tensors["y"] for run in runs)
    assert torch.equal(alone[0], with_another[1])


def test_dip_experiment_fits_files_of_any_size_and_colour(tmp_path: Path) -> None:
    names = []
    for i, shape in enumerate([(1, 12, 15), (3, 13, 11), (1, 12, 15)]):
        names.append(str(tmp_path / f"{i}.png"))
        save_png(names[-1], torch.rand(shape))
    run = experiment(images__files=tuple(names))
    assert [len(batch) for batch in run.fit.batches] == [2, 1]
    items = list(run)
    assert isinstance(items[0], DataLoaded)
    assert (items[0].dataset, items[0].source) == ("files", "0.png, 1.png, 2.png")
    assert [tuple(image.shape) for image in run.fit.restored] == [(1, 12, 15), (3, 13, 11), (1, 12, 15)]
    assert run.network is None


def test_dip_experiment_shows_grey_and_colour_of_one_size_in_one_picture(tmp_path: Path) -> None:
    images = [torch.rand(1, 12, 15), torch.rand(3, 12, 15), torch.rand(1, 12, 15)]
    names = tuple(str(tmp_path / f"{i}" / "a.png") for i in range(3))
    for name, image in zip(names, images, strict=True):
        Path(name).parent.mkdir()
        save_png(name, image)
    run = experiment(images__files=names)
    *_, final = (item for item in run if isinstance(item, Pictures))
    assert final.name == "restored"
    truths = final.images[2::3]
    assert [to_bytes(truth).tolist() for truth in truths] == [
        to_bytes(image.expand(3, -1, -1)).tolist() for image in images
    ]


def test_dip_experiment_batch_size_follows_option() -> None:
    run = experiment(dip__batch=1)
    assert [len(batch) for batch in run.fit.batches] == [1, 1]
    together = experiment()
    for made in (run, together):
        list(made)
    for a, b in zip(run.fit.restored, together.fit.restored, strict=True):
        assert torch.allclose(a, b, atol=1e-3)


def test_bytes_per_image_grows_with_pixels() -> None:
    options = experiment().config.dip
    small, large = bytes_per_image(options, (1, 28, 28)), bytes_per_image(options, (1, 56, 56))
    assert 3 * small < large < 5 * small


@pytest.mark.parametrize("steps", [1, 3, 5, 6])
def test_dip_experiment_resumes_from_a_file_after_any_step(steps: int, tmp_path: Path) -> None:
    whole = [text(item) for item in experiment()]
    first, second = experiment(), experiment()
    before = [text(item) for item in until_step(first, steps)]
    path = tmp_path / "last.safetensors"
    checkpoint.save(path, first.state_dict(), first.network)
    second.load_state_dict(checkpoint.load_state(path))
    assert before + [text(item) for item in second] == whole
    assert checkpoint.load(path).name == "skip"


def test_dip_experiment_resumes_in_its_original_batches() -> None:
    first, second, whole = experiment(dip__batch=1), experiment(dip__batch=2), experiment(dip__batch=1)
    before = [text(item) for item in until_step(first, 2)]
    second.load_state_dict(first.state_dict())
    assert before + [text(item) for item in second] == [text(item) for item in whole]


def test_dip_experiment_can_be_extended_after_finish() -> None:
    """An extended run yields its results again at its new end; a run without further iterations yields no items."""
    first, same, longer = experiment(), experiment(), experiment(dip__iterations=9)
    list(first)
    for resumed in (same, longer):
        resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    assert list(same) == []
    items = list(longer)
    assert longer.step == 9
    assert [type(item) for item in items[-5:]] == [StopsCompared, BestModel, Pictures, RestoredImages, Step]


def text(item: object) -> str:
    return repr(item) if isinstance(item, Event) else str(item)


def test_dip_experiment_refuses_missing_image() -> None:
    with pytest.raises(UserError, match="no image 2000"):
        experiment(images__indices="2000")
