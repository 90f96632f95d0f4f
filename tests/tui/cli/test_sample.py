"""`dipddpm sample`, and the numbers of a trained model in `dipddpm show`."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from dipddpm.core import config as configs
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.solvers import solver
from dipddpm.core.events import EpochFinished, Message, SamplesEvaluated
from dipddpm.core.images import load_image, save_png, to_bytes, to_unit
from dipddpm.core.io import output
from dipddpm.core.runs import EventLog, RunsFolder
from tests.tui.driving import dipddpm, make_trained_run


def test_sample_grid_shows_samples_of_best_model(
    tmp_path: Path, runs: RunsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_trained_run(runs)
    target = tmp_path / "out.png"
    assert dipddpm("sample", run.id, "--steps", "5", "--sampler", "heun", "--n", "4", "--grid", target) == 0
    assert "4 images in" in capsys.readouterr().out
    model = TrainedModel.of_run(run.folder)
    sampling = Sampling(model.denoiser(), solver("heun"), (4, *model.shape), steps=5)
    list(sampling)
    # Two by two images, five times as large, with one pixel between and around them.
    picture = load_image(target)
    assert picture.shape == (1, 1, 2 * 60 + 3, 2 * 50 + 3)
    last = picture[..., 62:122:5, 52:102:5]
    assert torch.equal(to_bytes(last), to_bytes(to_unit(sampling.xt[3:]).clamp(0, 1)))


@pytest.mark.parametrize(("sampler", "usual"), [("dpm++", "1"), ("ddim", "0")])
def test_sample_has_usual_share_of_fresh_noise(tmp_path: Path, runs: RunsFolder, sampler: str, usual: str) -> None:
    run = make_trained_run(runs)
    pictures = {}
    for name, options in {"usual": [], "0": ["--eta", "0"], "1": ["--eta", "1"]}.items():
        command = ("sample", run.id, "-n", "2", "--steps", "4", "--sampler", sampler, *options)
        assert dipddpm(*command, "--grid", tmp_path / f"{name}.png") == 0
        pictures[name] = (tmp_path / f"{name}.png").read_bytes()
    assert pictures["usual"] == pictures[usual]
    assert pictures["0"] != pictures["1"]


def test_sample_restarts_with_given_repeats_and_levels(
    tmp_path: Path, runs: RunsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_trained_run(runs)
    command = (
        "sample",
        run.id,
        "-n",
        "1",
        "--steps",
        "5",
        "--sampler",
        "restart",
        "--grid",
        tmp_path / "a.png",
        "--json",
    )
    assert (
        dipddpm(*command, "--restarts", "3", "--restart-steps", "2", "--restart-low", "20", "--restart-high", "200")
        == 0
    )
    assert json.loads(capsys.readouterr().out)["nfe"] == 9 + 3 * 4
    for low, high in (("38", "8"), ("0", "8")):
        assert dipddpm(*command, "--force", "--restart-low", low, "--restart-high", high) == 2
        assert "--restart-high must rise" in capsys.readouterr().err


def test_sample_draws_class_with_guidance(tmp_path: Path, runs: RunsFolder, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_trained_run(runs, classes=3)
    pictures = {}
    for name, options in {"none": [], "two": ["--class", "2"], "guided": ["--class", "2", "--guidance", "3"]}.items():
        assert dipddpm("sample", run.id, "-n", "2", *options, "--grid", tmp_path / f"{name}.png", "--json") == 0
        record = json.loads(capsys.readouterr().out)
        assert record["nfe"] == (40 if name == "guided" else 20)
        pictures[name] = (tmp_path / f"{name}.png").read_bytes()
    assert len(set(pictures.values())) == 3


def test_sample_refuses_guidance_of_model_without_classes(
    tmp_path: Path, runs: RunsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_trained_run(runs)
    assert dipddpm("sample", run.id, "--guidance", "2", "--grid", tmp_path / "a.png") == 2
    assert "--guidance needs classes" in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()
    assert dipddpm("sample", run.id, "--guidance", "1", "-n", "1", "--grid", tmp_path / "a.png") == 0


def test_sample_writes_trajectory_picture(tmp_path: Path, runs: RunsFolder) -> None:
    run = make_trained_run(runs)
    trajectory = tmp_path / "trajectory.png"
    assert dipddpm("sample", run.id, "-n", "3", "--grid", tmp_path / "a.png", "--trajectory", trajectory) == 0
    # Every second one of 20 steps, and one row an image.
    assert load_image(trajectory).shape == (1, 1, 3 * 60 + 4, 10 * 50 + 11)


def test_sample_evaluate_prints_measures_and_nearest_images(
    tmp_path: Path, runs: RunsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_trained_run(runs, size=(28, 28), settings={"data.dataset": "fashion-mini", "data.train_images": 200})
    command = ("sample", run.id, "-n", "4", "--steps", "2", "--evaluate", "128", "--grid", tmp_path / "out.png")
    assert dipddpm(*command) == 0
    first, *evaluations = capsys.readouterr().out.splitlines()
    assert first.startswith("128 images in")
    assert [text.partition(" with 2 NFE (")[0].rpartition(" ")[0] for text in evaluations] == [
        "Frechet distance",
        "Kernel distance",
        "Suspected copies, in pixels",
        "Suspected copies, in features",
    ]
    assert "128 samples of seed 0 against the 500 test images of fashion-mini" in evaluations[0]
    assert "one of the 200 train images" in evaluations[2]
    # Sixteen rows of a sample and its two nearest images, twice as large.
    assert load_image(tmp_path / "out-nearest.png").shape == (1, 1, 16 * 57 + 1, 3 * 57 + 1)
    assert load_image(tmp_path / "out.png").shape == (1, 1, 2 * 57 + 1, 2 * 57 + 1)
    assert dipddpm(*command, "--json", "--force") == 0
    values = [event["value"] for event in json.loads(capsys.readouterr().out)["evaluated"]]
    assert [f"{value:.4g}" for value in values] == [text.partition(" with")[0].split()[-1] for text in evaluations]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--class", "3"], "no class 3"),
        (["--steps", "41"], "1 to 40 steps"),
        (["--grid", "out.gif"], "not the name of a PNG"),
        (["--grid", "nowhere/out.png"], "no folder nowhere"),
        (["--device", "cuda:99"], "no device cuda:99"),
        (["--sampler", "euler"], "euler"),
        (["--evaluate", "100"], "100 samples are too few"),
        (["--evaluate", "200", "--class", "1"], "samples only one"),
        (["--evaluate", "200"], "28x28 grey images"),
    ],
)
def test_sample_refuses_bad_options_and_writes_no_file(
    options: list[str],
    words: str,
    runs: RunsFolder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(3):
        save_png(tmp_path / "photos" / f"{number}.png", torch.rand(1, 3, 12, 10))
    run = make_trained_run(runs, classes=3, settings={"data.dataset": f"folder:{tmp_path / 'photos'}"})
    assert dipddpm("sample", run.id, "--grid", tmp_path / "out.png", *options) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.glob("*.png")) == []


def test_sample_refuses_missing_models(runs: RunsFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert dipddpm("sample", runs.create(configs.build("dip")).id) == 2
    assert "is a run of kind dip" in capsys.readouterr().err
    assert dipddpm("sample", runs.create(configs.build("ddpm")).id) == 2
    assert "no best model yet" in capsys.readouterr().err
    run = make_trained_run(runs)
    assert dipddpm("sample", run.id, "--class", "1") == 2
    assert "trained without classes" in capsys.readouterr().err


def test_show_prints_error_by_timestep(runs: RunsFolder, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_trained_run(runs)
    bands = [0.3, 0.12, 0.06, 0.03, 0.02, 0.01, 0.005, 0.001, 0.0005, 0.0001]
    log = EventLog(run.folder)
    log.append(EpochFinished(epoch=1, step=10, loss=0.1, bands=[1.0] * 10))
    log.append(EpochFinished(epoch=2, step=20, loss=0.05, bands=bands))
    log.append(
        SamplesEvaluated(step=20, measure="Frechet distance", value=1.25, samples=500, protocol="the protocol", nfe=5)
    )
    log.append(Message(text="The means of the samples spread over 7.6.", level="warning"))
    log.append(Message(text="Of no interest afterwards."))
    log.close()
    assert dipddpm("show", run.id) == 0
    shown = capsys.readouterr().out
    assert "             Warning: The means of the samples spread over 7.6.\n" in shown
    assert "Of no interest" not in shown
    assert "eps by t           0-3  0.3000" in shown
    assert "                 36-39  0.0001" in shown
    assert "Frechet distance 1.25 with 5 NFE (the protocol)" in shown


def spoil(monkeypatch: pytest.MonkeyPatch, values: dict[int, float]) -> None:
    """Make every sampling give these values in the samples of these indices."""
    step = Sampling._step

    def spoiling(sampling: Sampling) -> None:
        step(sampling)
        for index, value in values.items():
            sampling.xt[index, 0, 0, 0] = value

    monkeypatch.setattr(Sampling, "_step", spoiling)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_sample_writes_no_picture_without_usable_samples(
    tmp_path: Path, runs: RunsFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    run = make_trained_run(runs)
    spoil(monkeypatch, {0: value, 1: value})
    assert dipddpm("sample", run.id, "--n", "2", "--steps", "2", "--grid", tmp_path / "a.png") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "2 of 2 samples" in printed.err
    assert "--clip" in printed.err
    assert not (tmp_path / "a.png").exists()


def test_sample_counts_samples_that_are_not_finite(
    tmp_path: Path, runs: RunsFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_trained_run(runs)
    spoil(monkeypatch, {1: float("nan")})
    target = tmp_path / "a.png"
    assert dipddpm("sample", run.id, "--n", "3", "--steps", "2", "--clip", "--grid", target, "--json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["unusable"] == 1
    assert "1 of 3 samples are not finite. Train the model again" in printed.err
    assert load_image(target).shape[1] == 3  # magenta on grey


def test_sample_warns_of_samples_out_of_range_and_shows_them_scaled(
    tmp_path: Path, runs: RunsFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_trained_run(runs)
    command = ("sample", run.id, "--n", "2", "--steps", "2", "--json", "--grid", tmp_path / "a.png")
    assert dipddpm(*command) == 0
    printed = capsys.readouterr()
    assert (json.loads(printed.out)["scaled"], printed.err) == (None, "")
    step = Sampling._step
    monkeypatch.setattr(Sampling, "_step", lambda sampling: [step(sampling), sampling.xt.add_(5)][0])
    assert dipddpm(*command, "--force") == 0
    printed = capsys.readouterr()
    scaled = tmp_path / "a-scaled.png"
    assert json.loads(printed.out)["scaled"] == str(scaled)
    assert "The means of the samples spread over " in printed.err
    assert f"{scaled} shows each sample scaled to its own range." in printed.err
    assert load_image(tmp_path / "a.png")[0].min() > 0.9
    assert load_image(scaled).min() == 0
    assert dipddpm(*command[:-1], tmp_path / "a.png") == 2
    (tmp_path / "a.png").unlink()
    assert dipddpm(*command) == 2
    assert "a-scaled.png exists already" in capsys.readouterr().err


def test_sample_never_replaces_pictures_without_force(
    tmp_path: Path, runs: RunsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_trained_run(runs)
    for name in ("grid.png", "trajectory.png"):
        (tmp_path / name).write_text("mine")
        other = "--trajectory" if name == "grid.png" else "--grid"
        own = "--grid" if name == "grid.png" else "--trajectory"
        options = (own, tmp_path / name, other, tmp_path / "other.png")
        assert dipddpm("sample", run.id, "-n", "1", "--steps", "2", *options) == 2
        assert "exists already.\nReplace it with --force" in capsys.readouterr().err
        assert (tmp_path / name).read_text() == "mine"
        assert not (tmp_path / "other.png").exists()
    assert dipddpm("sample", run.id, "-n", "1", "--steps", "2", "--grid", tmp_path / "grid.png", "--force") == 0
    assert load_image(tmp_path / "grid.png").shape[0] == 1


def test_sample_refuses_path_before_it_reads_the_run(
    tmp_path: Path, runs: RunsFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.create(configs.build("ddpm"))  # without a model

    def refuse(_: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(output, "probe", refuse)
    assert dipddpm("sample", run.id, "--grid", tmp_path / "x.png") == 2
    assert "can't be written: Read-only file system.\nChoose a folder" in capsys.readouterr().err


def test_sample_reports_disk_that_fills_up(
    tmp_path: Path, runs: RunsFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_trained_run(runs)

    def fill(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr("dipddpm.core.images.save_png", fill)
    assert dipddpm("sample", run.id, "-n", "1", "--steps", "2", "--grid", tmp_path / "x.png") == 2
    assert "x.png can't be written: No space left on device.\nFree some space" in capsys.readouterr().err


def test_sample_refuses_two_pictures_of_one_name(
    tmp_path: Path, runs: RunsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.png"
    assert dipddpm("sample", make_trained_run(runs).id, "--grid", path, "--trajectory", path) == 2
    assert "same name: x.png, x.png" in capsys.readouterr().err


def test_sample_writes_file_with_longest_name(tmp_path: Path, runs: RunsFolder) -> None:
    path = tmp_path / f"{'x' * 251}.png"
    assert dipddpm("sample", make_trained_run(runs).id, "-n", "1", "--steps", "2", "--grid", path) == 0
    assert path.exists()
