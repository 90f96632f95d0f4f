"""Tests of the export of images: every PNG has the pixels of the tensor, read back by Pillow alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.errors import UserError
from dipddpm.core.experiments.dip import DipExperiment
from dipddpm.core.export import export
from dipddpm.core.images import picture, split_picture
from dipddpm.core.launch.recorder import Recorder
from dipddpm.core.runs import EventLog, Run, RunsFolder


def pixels(path: Path) -> Any:
    with Image.open(path) as png:
        return np.asarray(png)


def to_pixels(image: torch.Tensor) -> Any:
    rounded = np.rint(np.float32(255) * np.clip(image.numpy(), 0, 1))
    return rounded[0] if len(rounded) == 1 else rounded.transpose(1, 2, 0)


def record(run: Run, *items: events.Item) -> None:
    log = EventLog(run.folder)
    recorder = Recorder(run.folder, log)
    for item in items:
        recorder.record(item)
    recorder.flush()
    log.close()


def test_images_export_equals_restored_tensors(runs: RunsFolder, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    files = [tmp_path / name for name in ("a/x.png", "b/x.png", "photo.png")]
    for file, shape in zip(files, [(12, 15), (12, 15, 3), (9, 14, 3)], strict=True):
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(file)
    tiny = {"dip.iterations": 4, "dip.channels": 4, "dip.input_channels": 4, "dip.window": 2}
    options = {"images.files": tuple(map(str, files)), **tiny}
    config = configs.build("dip", task="denoise:sigma=25", settings=options)
    assert isinstance(config, configs.DipRun)
    run = runs.create(config)
    record(run, *DipExperiment.from_config(config, "cpu"))
    (done,) = export([run], ["images"], tmp_path / "out")
    names = ["x", "x-2", "photo"]
    kinds = {"restored": "checkpoints/best.safetensors", "degraded": "measurement.safetensors"}
    assert {path.name for path in done.path.iterdir()} == {f"{name}-{kind}.png" for name in names for kind in kinds}
    for kind, stored in kinds.items():
        tensors = load_file(run.folder / stored)
        for index, name in enumerate(names):
            tensor = tensors[f"{'y' if kind == 'degraded' else kind}.{index}"]
            for folder in (done.path, run.folder / "images"):
                assert np.array_equal(pixels(folder / f"{name}-{kind}.png"), to_pixels(tensor))


def test_images_export_names_scale_of_spread(runs: RunsFolder, tmp_path: Path) -> None:
    run = runs.create(configs.build("hybrid", settings={"images.indices": "3,5"}))
    restored = torch.rand(2, 3, 12, 15, generator=torch.Generator().manual_seed(0))
    tensors = {"restored": restored, "spread": torch.full_like(restored, 12 / 255)}
    record(run, events.BestModel(network=None, step=1, value=1.0, measure="residual", tensors=tensors))
    (done,) = export([run], ["images"], tmp_path / "out")
    kinds = ("restored", "spread_white_is_16_grey_levels")
    assert {path.name for path in done.path.iterdir()} == {
        f"test-{index}-{kind}.png" for index in (3, 5) for kind in kinds
    }
    assert (pixels(done.path / f"test-5-{kinds[1]}.png") == round(255 * 12 / 16)).all()


def test_images_export_copies_restorations_of_given_files(runs: RunsFolder, tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 65536, (3, 9, 12)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "cells.tif", stack, photometric="minisblack")
    given = str(tmp_path / "cells.tif")
    run = runs.create(configs.build("image", task="denoise:sigma=25", settings={"images.given": (given,)}))
    restored = [torch.rand(1, 9, 12) for _ in stack]
    record(run, events.GivenRestored(file=given, name="cells", images=restored, maps={"spread": restored[0]}))
    (done,) = export([run], ["images"], tmp_path / "out")
    assert {path.name for path in done.path.iterdir()} == {"cells-restored.tif", "cells-given.tif"}
    assert np.array_equal(tifffile.imread(done.path / "cells-given.tif"), stack)
    expected = np.rint(65535 * torch.stack(restored)[:, 0].double().numpy())
    assert np.array_equal(tifffile.imread(done.path / "cells-restored.tif"), expected)


def test_images_export_takes_samples_from_their_picture(runs: RunsFolder, tmp_path: Path) -> None:
    run = runs.create(configs.build("ddpm", settings={"ddpm.samples": 11}))
    samples = torch.rand(11, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    record(run, events.Pictures(name="samples", images=samples), events.Pictures(name="other", images=samples))
    (done,) = export([run], ["images"], tmp_path / "out")
    assert {path.name for path in done.path.iterdir()} == {f"sample-{index}.png" for index in range(11)}
    for index, sample in enumerate(samples):
        assert np.array_equal(pixels(done.path / f"sample-{index}.png"), to_pixels(sample))


def test_images_export_writes_scaled_samples_too(runs: RunsFolder, tmp_path: Path) -> None:
    run = runs.create(configs.build("ddpm", settings={"ddpm.samples": 2}))
    scaled = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    white = events.Pictures(name="samples", images=torch.ones_like(scaled))
    record(run, white, events.Pictures(name="samples-scaled", images=scaled))
    (done,) = export([run], ["images"], tmp_path / "out")
    assert {path.name for path in done.path.iterdir()} == {
        f"sample-{index}{ending}.png" for index in (0, 1) for ending in ("", "-scaled")
    }
    assert pixels(done.path / "sample-1.png").min() == 255
    assert np.array_equal(pixels(done.path / "sample-1-scaled.png"), to_pixels(scaled[1]))


def test_images_export_takes_head_to_head_apart(runs: RunsFolder, tmp_path: Path) -> None:
    run = runs.create(configs.build("restore"))
    images = torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    panels = ("degraded", "dip-mean @x/y", "truth")
    record(run, events.Pictures(name="cell-0003", images=images, columns=3, panels=panels))
    (done,) = export([run], ["images"], tmp_path / "out")
    names = ["degraded", "dip-mean_x_y", "truth"]
    for index, image in enumerate(images):
        path = done.path / f"cell-0003-{index // 3}-{names[index % 3]}.png"
        assert np.array_equal(pixels(path), to_pixels(image))
    assert len(list(done.path.iterdir())) == 6


def test_images_export_takes_pictures_apart_where_checkpoints_are_missing(runs: RunsFolder, tmp_path: Path) -> None:
    options = {"images.indices": "3,5,8", "dip.iterations": 4, "dip.channels": 4, "dip.input_channels": 4}
    config = configs.build("dip", settings={**options, "data.dataset": "fashion-mini", "dip.window": 2})
    assert isinstance(config, configs.DipRun)
    run = runs.create(config)
    record(run, *DipExperiment.from_config(config, "cpu"))
    (whole,) = export([run], ["images"], tmp_path / "whole")
    (run.folder / "checkpoints/best.safetensors").unlink()
    (apart,) = export([run], ["images"], tmp_path / "apart")
    names = {path.name for path in whole.path.iterdir()}
    assert names == {f"test-{index}-{kind}.png" for index in (3, 5, 8) for kind in ("restored", "degraded")}
    assert {path.name for path in apart.path.iterdir()} == names | {f"test-{index}-truth.png" for index in (3, 5, 8)}
    for name in names:
        assert np.array_equal(pixels(apart.path / name), pixels(whole.path / name))


@pytest.mark.parametrize("kind", ["dip", "ddpm", "hybrid", "restore", "explanation"])
def test_images_export_refuses_run_without_images(runs: RunsFolder, tmp_path: Path, kind: str) -> None:
    with pytest.raises(UserError, match="no restored images and no samples"):
        export([runs.create(configs.build(kind))], ["images"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_images_export_refuses_foreign_picture(runs: RunsFolder, tmp_path: Path) -> None:
    run = runs.create(configs.build("ddpm", settings={"ddpm.samples": 4}))
    record(run, events.Pictures(name="samples", images=torch.zeros(4, 1, 8, 8)))
    Image.new("L", (77, 33)).save(run.folder / "images/samples.png")
    with pytest.raises(UserError, match="isn't the one in the run's log"):
        export([run], ["images"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 7), st.sampled_from([1, 3]), st.integers(1, 130), st.integers(1, 130)),
    st.integers(1, 5),
    st.integers(0, 2**31),
)
def test_split_picture_undoes_picture(shape: tuple[int, int, int, int], columns: int, seed: int) -> None:
    images = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    count = len(images)
    rows = -(-count // columns)
    parts = split_picture(picture(images, columns), columns, rows)
    assert parts.shape == (rows * columns, *shape[1:])
    assert torch.equal(parts[:count], images)
