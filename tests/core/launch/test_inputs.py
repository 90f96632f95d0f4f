"""A resume on other images, masks or models is refused, and on the same ones it goes on exactly."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from dipddpm.core import config as configs
from dipddpm.core.config import AnyRun
from dipddpm.core.errors import UserError
from dipddpm.core.events import (
    BestModelStored,
    DataLoaded,
    EpochFinished,
    MaskLoaded,
    Message,
    PriorLoaded,
    PsnrMeasured,
    RunFailed,
    RunResumed,
)
from dipddpm.core.launch import inputs, preflight, worker
from dipddpm.core.launch.recorder import Recorder
from dipddpm.core.runs import CHECKPOINT_FILE, CONFIG_FILE, EVENTS_FILE, EventLog, Run, RunsFolder, RunState, reference
from tests.helpers import record_calls, recorded, work

DDPM = {
    "ddpm.batch_size": 8,
    "ddpm.timesteps": 20,
    "ddpm.network": "unet",
    "unet.channels": "8,8",
    "ddpm.epochs": 2,
    "ddpm.samples": 0,
    "device": "cpu",
    "checkpoint_seconds": 0,
}
DIP = {
    "dip.iterations": 6,
    "dip.channels": 4,
    "dip.measure_every": 2,
    "dip.stop": "never",
    "device": "cpu",
    "checkpoint_seconds": 0,
}
Change = Callable[[Path], object]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a folder with two pictures and a mask."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name, seed in (("a.png", 1), ("b, c.png", 2)):
        save(folder / name, noise(seed, (16, 20)))
    save(folder / "mask.png", 255 * (noise(3, (16, 20)) > 100))
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a data set of two classes, whose images need no resizing."""
    folder = tmp_path / "pictures"
    for index in range(24):
        path = folder / ("cats" if index < 12 else "dogs") / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, noise(index, (28, 28)))
    return folder


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare data sets in this process, which is faster."""

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            inputs.main(Path(command[-1]))
        return subprocess.CompletedProcess(command, 0, output.getvalue())

    monkeypatch.setattr(subprocess, "run", run)


def noise(seed: int, size: tuple[int, int]) -> Any:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def save(path: Path, pixels: Any) -> None:
    """Write a PNG without compression, so that other pixels take as many bytes."""
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path, compress_level=0)


def restoring(files: Path) -> AnyRun:
    settings = {**DIP, "images.files": (f"{files}/a.png", f"{files}/b, c.png"), "task.mask": f"{files}/mask.png"}
    return configs.build("dip", task="inpaint:sigma=1", settings=settings)


def training(pictures: Path, **more: Any) -> AnyRun:
    return configs.build("ddpm", settings={**DDPM, "data.dataset": f"folder:{pictures}", **more})


def interrupted(runs: RunsFolder, config: AnyRun, *, after: int = 2) -> Run:
    """Return a run that has ended, as if it was killed, after this many checkpoints."""
    stored, run = 0, runs.create(config)
    original = Recorder.checkpoint

    def checkpoint(*given: Any, **options: Any) -> Any:
        nonlocal stored
        result = original(*given, **options)
        stored += 1
        if stored == after:
            raise RuntimeError("killed")
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "checkpoint", checkpoint)
        patch.setattr(worker._RunWorker, "_log_failure", lambda *_: None)
        assert work(run) == 1
    assert (run.folder / CHECKPOINT_FILE).is_file()
    return run


def refused(run: Run) -> RunFailed:
    """Return the error of a resume, which must leave the checkpoint and the lines of the log as they are."""
    checkpoint, log = (run.folder / CHECKPOINT_FILE).read_bytes(), (run.folder / EVENTS_FILE).read_bytes()
    assert work(run, "--resume") == 1
    assert (run.folder / CHECKPOINT_FILE).read_bytes() == checkpoint
    assert (run.folder / EVENTS_FILE).read_bytes().startswith(log)
    status = run.status()
    assert status.state is RunState.failed
    failed = recorded(run, RunFailed)[-1]
    assert (status.summary.error, status.hint) == (failed.error, failed.hint)
    assert f"Put the old files back and resume the run again, or start a new run with: dipddpm fork {run.id}" in (
        failed.hint
    )
    assert not recorded(run, RunResumed)
    return failed


def numbers(run: Run) -> list[Any]:
    """Return the results in a run's history, without clock readings."""
    fixed = {"time": 0.0, "offset": 0, "seconds": 0.0, "images_per_second": None}
    kinds = (EpochFinished, PsnrMeasured, BestModelStored)
    return [
        msgspec.structs.replace(event, **{name: value for name, value in fixed.items() if hasattr(event, name)})
        for event in run.events()
        if isinstance(event, kinds)
    ]


def assert_resumes_like(run: Run, whole: Run) -> None:
    """Resume a run, and compare it with one that was never interrupted, bit for bit."""
    assert work(run, "--resume") == 0
    assert run.status().state is RunState.finished
    assert numbers(run) == numbers(whole) != []
    best = "checkpoints/best.safetensors"
    assert (run.folder / best).read_bytes() == (whole.folder / best).read_bytes()


def overwrite(*paths: Path) -> None:
    """Change the pixels of these files, but neither their sizes in bytes nor their times."""
    for path in paths:
        before = path.stat()
        with Image.open(path) as image:
            pixels = np.asarray(image)
        save(path, 255 - pixels)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda files: overwrite(files / "a.png"), ["a.png has other pixels"]),
        (
            lambda files: overwrite(files / "a.png", files / "b, c.png"),
            ["a.png has other pixels, ", "b, c.png has other pixels"],
        ),
        (lambda files: overwrite(files / "mask.png"), ["the mask ", "mask.png has other pixels"]),
        (lambda files: (files / "mask.png").unlink(), ["There is no image file", "mask.png"]),
        (lambda files: (files / "b, c.png").rename(files / "d.png"), ["There is no image file", "b, c.png"]),
        (lambda files: save(files / "mask.png", 255 * (noise(1, (8, 8)) > 100)), ["The mask", "8x8"]),
        (lambda files: swap(files / "a.png", files / "b, c.png"), ["a.png has other pixels, ", "b, c.png has other"]),
    ],
    ids=["image", "images", "mask", "no-mask", "renamed", "size", "swapped"],
)
def test_resume_on_other_files_is_refused_until_they_are_back(
    change: Change, words: list[str], runs: RunsFolder, files: Path, tmp_path: Path
) -> None:
    whole = runs.create(restoring(files))
    assert work(whole) == 0
    run = interrupted(runs, restoring(files))
    kept = shutil.copytree(files, tmp_path / "kept")
    change(files)
    with pytest.raises(UserError) as caught:
        preflight.refuse_resume(run)
    failed = refused(run)
    assert all(word in failed.error for word in words), failed.error
    assert (caught.value.problem, caught.value.remedy) == (failed.error, failed.hint)
    shutil.rmtree(files)
    shutil.copytree(kept, files)
    assert_resumes_like(run, whole)


def swap(one: Path, other: Path) -> None:
    one.rename(one.with_suffix(".old"))
    other.rename(one)
    one.with_suffix(".old").rename(other)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda pictures: (pictures / "cats/00.png").unlink(), "train had 22 images then and has 21 now"),
        (
            lambda pictures: save(pictures / "dogs/99.png", noise(99, (28, 28))),
            "train had 22 images then and has 23 now",
        ),
        (lambda pictures: overwrite(pictures / "cats/03.png"), "other images or labels"),
        (lambda pictures: (pictures / "cats").rename(pictures / "wolves"), "other images or labels"),
        (lambda pictures: swap(pictures / "cats", pictures / "dogs"), "other images or labels"),
        (shutil.rmtree, "There is no folder"),
    ],
    ids=["deleted", "added", "changed", "renamed-class", "swapped-classes", "gone"],
)
def test_resume_on_other_data_is_refused_until_they_are_back(
    change: Change, words: str, runs: RunsFolder, pictures: Path, tmp_path: Path
) -> None:
    run = interrupted(runs, training(pictures))
    kept = shutil.copytree(pictures, tmp_path / "kept")
    preflight.refuse_resume(run)
    change(pictures)
    with pytest.raises(UserError, match=re.escape(words)):
        preflight.refuse_resume(run)
    assert words in refused(run).error
    shutil.rmtree(pictures, ignore_errors=True)
    shutil.copytree(kept, pictures)
    whole = runs.create(training(pictures))
    assert work(whole) == 0
    assert_resumes_like(run, whole)


def test_touched_data_are_compared_in_one_process_for_several_runs(
    runs: RunsFolder, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (interrupted(runs, training(pictures, seed=seed)) for seed in (1, 2))
    calls = record_calls(monkeypatch, subprocess, "run")
    compared: set[inputs.Hashes] = set()
    for run in (first, second):
        preflight.refuse_resume(run, compared=compared)
    assert len(calls) == 1


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("slow", [True, False])
def test_long_comparison_of_images_gives_notice(
    runs: RunsFolder, pictures: Path, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    run = interrupted(runs, training(pictures))
    notified = threading.Event()
    notices: list[str] = []

    def notify(text: str) -> None:
        notices.append(text)
        notified.set()

    if slow:
        compare = subprocess.run

        def run_after_notice(*args: Any, **options: Any) -> object:
            assert notified.wait(60)
            return compare(*args, **options)

        monkeypatch.setattr(subprocess, "run", run_after_notice)
        monkeypatch.setattr(inputs, "_NOTICE_SECONDS", 0.01)
    else:
        monkeypatch.setattr(inputs, "_NOTICE_SECONDS", 60)
    preflight.refuse_resume(run, notify=notify)
    assert notices == [inputs.COMPARING] * slow


@pytest.mark.usefixtures("in_this_process")
def test_data_may_move_with_their_path_in_the_config(runs: RunsFolder, pictures: Path) -> None:
    run = interrupted(runs, training(pictures))
    moved = pictures.rename(pictures.with_name("moved"))
    with pytest.raises(UserError, match="There is no folder"):
        preflight.refuse_resume(run)
    path = run.folder / CONFIG_FILE
    path.write_text(path.read_text().replace(str(pictures), str(moved)))
    preflight.refuse_resume(run)
    overwrite(moved / "cats/03.png")
    with pytest.raises(UserError, match="other images or labels"):
        preflight.refuse_resume(run)


@pytest.mark.usefixtures("in_this_process")
def test_finished_run_without_checkpoint_is_compared_too(runs: RunsFolder, pictures: Path) -> None:
    run = runs.create(training(pictures))
    assert work(run) == 0
    (run.folder / CHECKPOINT_FILE).unlink()
    preflight.refuse_changed(run)
    overwrite(pictures / "cats/03.png")
    with pytest.raises(UserError, match="other images or labels"):
        preflight.refuse_changed(run)


def test_resume_accepts_files_that_differ_in_bytes_alone(runs: RunsFolder, files: Path) -> None:
    whole = runs.create(restoring(files))
    assert work(whole) == 0
    run = interrupted(runs, restoring(files))
    for path in files.iterdir():
        with Image.open(path) as image:
            image.load()
        image.save(path, compress_level=9)
    assert_resumes_like(run, whole)


def test_resume_with_another_kernel_is_refused(runs: RunsFolder, files: Path) -> None:
    np.save(files / "k.npy", np.ones((3, 3)))
    settings = {**DIP, "images.files": (f"{files}/a.png",)}
    run = interrupted(runs, configs.build("dip", task=f"deblur:kernel=file,file={files}/k.npy", settings=settings))
    np.save(files / "k.npy", np.ones((1, 3)))
    assert "k.npy has other values" in refused(run).error


def test_hashes_in_the_log_are_those_of_the_pixels(runs: RunsFolder, files: Path, pictures: Path) -> None:
    """Compute each hash again, from what Pillow reads."""
    run, trained = runs.create(restoring(files)), runs.create(training(pictures, **{"ddpm.epochs": 1}))
    assert [work(run), work(trained)] == [0, 0]
    (loaded,), (mask,) = recorded(run, DataLoaded), recorded(run, MaskLoaded)
    pixels = {
        name: (np.asarray(Image.open(files / name))[None].astype(np.float32) / np.float32(255))
        for name in ("a.png", "b, c.png")
    }
    content = {f"{files}/{name}": str(array.shape).encode() + array.tobytes() for name, array in pixels.items()}
    assert loaded.files == {name: hashlib.sha256(each).hexdigest() for name, each in content.items()}
    assert loaded.sha256 == hashlib.sha256(b"".join(content.values())).hexdigest()
    white = np.asarray(Image.open(files / "mask.png")) > 127
    assert (mask.file, mask.sha256) == (
        f"{files}/mask.png",
        hashlib.sha256(str(white.shape).encode() + white.tobytes()).hexdigest(),
    )
    paths = [path for index, path in enumerate(sorted(pictures.rglob("*.png"))) if index % 10 != 9]
    labels = np.asarray([path.parent.name == "dogs" for path in paths], dtype="<i8")
    images = b"".join(np.asarray(Image.open(path)).tobytes() for path in paths)
    (data,) = recorded(trained, DataLoaded)
    assert (data.images, data.sha256) == (22, hashlib.sha256(images + labels.tobytes()).hexdigest())


def test_evaluated_training_checks_its_test_images_too(runs: RunsFolder, pictures: Path) -> None:
    for index in range(200):
        for split in ("train", "test"):
            path = pictures / split / f"{index:03}.png"
            path.parent.mkdir(exist_ok=True)
            save(path, noise(index, (28, 28)))
    run = interrupted(runs, training(pictures, **{"ddpm.evaluate": 128, "data.train_images": 16}))
    assert [event.split for event in recorded(run, DataLoaded)] == ["train", "test"]
    overwrite(pictures / "test" / "003.png")
    assert "test has other images or labels" in refused(run).error


def test_resume_of_older_log_warns_of_what_it_cannot_check(runs: RunsFolder, files: Path) -> None:
    """Older versions logged no mask, and one hash of all image files."""
    whole = runs.create(restoring(files))
    assert work(whole) == 0
    run = interrupted(runs, restoring(files))
    log = (run.folder / EVENTS_FILE).read_bytes()
    older = log.replace(b'"mask_loaded"', b'"mask_future"').replace(b'"files":{', b'"filed":{')
    assert len(older) == len(log)
    (run.folder / EVENTS_FILE).write_bytes(older)
    kept = (files / "a.png").read_bytes()
    overwrite(files / "a.png")
    assert f"{files}/a.png" not in refused(run).error
    (files / "a.png").write_bytes(kept)
    assert_resumes_like(run, whole)
    (warning,) = (event for event in recorded(run, Message) if event.level == "warning")
    assert warning.text == inputs.UNCHECKED.format(f"the mask {files}/mask.png")


def test_run_without_checkpoint_starts_again_with_the_new_data(runs: RunsFolder, pictures: Path) -> None:
    run = runs.create(training(pictures))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "checkpoint", lambda *_, **__: 1 / 0)
        patch.setattr(worker._RunWorker, "_log_failure", lambda *_: None)
        assert work(run) == 1
    assert not (run.folder / CHECKPOINT_FILE).exists()
    (pictures / "cats/00.png").unlink()
    assert work(run, "--resume") == 0
    assert [event.images for event in run.events() if isinstance(event, DataLoaded)] == [21]


def test_resume_warns_once_of_settings_changed_by_hand(runs: RunsFolder, pictures: Path) -> None:
    """A file that was cut off between two tables is valid, and would otherwise take the defaults without a word."""
    run = interrupted(runs, training(pictures, **{"ddpm.lr": 0.003, "ddpm.weighting": "min-snr", "unet.dropout": 0.0}))
    path = run.folder / "config.toml"
    whole = path.read_text()
    path.write_text(whole.replace("lr = 0.003", "lr = 0.004").replace('device = "cpu"', 'device = "auto"'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker._RunWorker, "_iterate", lambda *_: True)
        assert work(run, "--resume") == 0
        assert work(run, "--resume") == 0
        path.write_text(whole[: whole.index("[ddpm]")] + '[ddpm]\nnetwork = "unet"\n' + whole[whole.index("[unet]") :])
        assert work(run, "--resume") == 0
    first, second = (event.text for event in recorded(run, Message) if event.level == "warning")
    assert first == "config.toml has changed since the checkpoint: ddpm.lr was 0.003 and is 0.004"
    assert second.startswith("config.toml has changed since the checkpoint: ddpm.")
    assert "more" in second


@pytest.fixture
def prior(runs: RunsFolder, pictures: Path) -> Run:
    """Return a trained model of two epochs."""
    run = runs.create(training(pictures))
    assert work(run) == 0
    return run


def hybrid(prior: Run, pictures: Path) -> AnyRun:
    settings = {**DIP, "data.dataset": f"folder:{pictures}", "images.indices": "0-1", "prior.run": str(prior.folder)}
    return configs.build("hybrid", method="guided", task="denoise:sigma=25", settings=settings)


def test_hybrid_refuses_a_model_that_was_replaced(runs: RunsFolder, prior: Run, pictures: Path) -> None:
    run = interrupted(runs, hybrid(prior, pictures))
    (loaded,) = recorded(run, PriorLoaded)
    best = prior.folder / "checkpoints/best.safetensors"
    kept = best.read_bytes()
    assert loaded.sha256 == hashlib.sha256(kept).hexdigest()
    shutil.copyfile(prior.folder / CHECKPOINT_FILE, best)
    problem = f"The run began with other data: the best model of {prior.id} has other weights."
    with pytest.raises(UserError) as caught:
        preflight.refuse_resume(run)
    assert caught.value.problem == problem
    assert refused(run).error == problem
    best.unlink()
    with pytest.raises(UserError, match="has no best model yet") as caught:
        preflight.refuse_resume(run)
    assert "Put the old files back" in caught.value.remedy
    best.write_bytes(kept)
    preflight.refuse_resume(run)
    assert work(run, "--resume") == 0
    assert run.status().state is RunState.finished


def test_hybrid_refuses_a_prior_whose_schedule_was_edited(runs: RunsFolder, prior: Run, pictures: Path) -> None:
    run = interrupted(runs, hybrid(prior, pictures))
    config = prior.folder / CONFIG_FILE
    kept = config.read_text()
    config.write_text(
        kept.replace("beta_end = 0.02", "beta_end = 0.03").replace('objective = "eps"', 'objective = "v"')
    )
    of = f"of {prior.id} was"
    problem = f"The run began with other data: ddpm.beta_end {of} 0.02 and is 0.03, ddpm.objective {of} eps and is v."
    with pytest.raises(UserError) as caught:
        preflight.refuse_resume(run)
    assert caught.value.problem == problem
    assert refused(run).error == problem
    config.write_text(kept.replace("lr = 0.001", "lr = 0.002"))  # a trained model doesn't depend on it any more
    preflight.refuse_resume(run)
    old = [PriorLoaded(run=prior.id, sha256=event.sha256) for event in recorded(run, PriorLoaded)]
    assert inputs.refuse_changed(run.folder, old) == "", "the log of an older version names no options"


def test_other_reference_model_of_a_new_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / CHECKPOINT_FILE).touch()
    log = EventLog(tmp_path)
    log.append(PriorLoaded(run=reference.PRIOR, sha256="1" * 64))
    log.close()
    with pytest.raises(UserError, match="the reference model of this version of the program is another one"):
        inputs.refuse_changed(tmp_path, [PriorLoaded(run=reference.PRIOR, sha256="2" * 64)])
    assert inputs.refuse_changed(tmp_path, [PriorLoaded(run="moved", sha256="1" * 64)]) == ""


def test_many_changes_are_counted(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / CHECKPOINT_FILE).touch()
    log = EventLog(tmp_path)
    old, new = ({f"/{index}.png": f"{seed}{index}" for index in range(5)} for seed in "ab")
    log.append(DataLoaded(dataset="files", split="", images=5, sha256="old", files=old))
    log.close()
    with pytest.raises(UserError, match=r"/0.png has other pixels, /1.png .*, /2.png has other pixels, and 2 more\."):
        inputs.refuse_changed(tmp_path, [DataLoaded(dataset="files", split="", images=5, sha256="new", files=new)])
