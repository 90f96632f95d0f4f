"""Runs on pictures without a truth: no word of what only a truth can give, in anything that a person sees of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dipddpm.core import config as configs
from dipddpm.core import events, registry
from dipddpm.core.export.figures import drawings
from dipddpm.core.export.snapshot import Record, scalars
from dipddpm.core.launch.recorder import Recorder
from dipddpm.core.runs import EventLog, Run, RunsFolder
from tests.tui.driving import LARGE, Opener, dipddpm

FORBIDDEN = re.compile(r"(?<!predicted[ _-])psnr|\bpeak|\bgain", re.IGNORECASE)
TINY = {"channels": 4, "input_channels": 4, "iterations": 30, "measure_every": 10, "picture_every": 20}
KINDS: dict[str, dict[str, Any]] = {
    "dip": {"dip.stop": "held-out"},
    "hybrid": {"method": "self-diffusion"},
    "image": {"picture.method": "dip", "picture.restarts": 1},
}
SIZES = {"dip": ((80, 24), (200, 60))}
"""Sizes of the console; for other kinds of runs one in between."""
FILES = ("files", "images", "csv", "jsonl", "figures", "html", "tensorboard")
"""The formats whose files hold text; W&B and MLflow get the scalars, the results and the options of the run."""


def refuse_words(text: str, where: str) -> None:
    """Fail if the text has a forbidden word."""
    found = FORBIDDEN.search(text)
    assert found is None, f"{where}: {text[max(0, found.start() - 100) : found.end() + 100]}"


def finish(runs: RunsFolder, folder: Path, kind: str) -> Run:
    """Make a finished run of a kind on a noisy picture, as its worker does."""
    rng = np.random.default_rng(0)
    pixels = (128 + 60 * np.sin(np.arange(24) / 4) + rng.normal(0, 20, (20, 24))).clip(0, 255)
    Image.fromarray(pixels.astype(np.uint8)).save(folder / "noisy.png")
    settings: dict[str, Any] = {
        "images.given": (str(folder / "noisy.png"),),
        **{f"dip.{key}": value for key, value in TINY.items()},
    }
    settings |= KINDS[kind]
    method = settings.pop("method", None)
    config = configs.build(kind, method=method, task="denoise:sigma=20", settings=settings)
    run = runs.create(config)
    log = EventLog(run.folder)
    recorder = Recorder(run.folder, log)
    experiment = registry.resolve(configs.experiment_path(config)).from_config(config, "cpu")
    recorder.record(experiment.started())
    for item in experiment:
        recorder.record(item)
    recorder.checkpoint(experiment)
    recorder.record(events.RunFinished(seconds=1.0, step=experiment.step))
    log.close()
    return run


@pytest.mark.parametrize("kind", KINDS)
async def test_no_word_of_a_truth_is_seen_of_a_run_without_one(
    kind: str, runs: RunsFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], opened: Opener
) -> None:
    run = finish(runs, tmp_path, kind)
    assert any(isinstance(event, events.QualityPredicted) for event in run.events())
    for path in run.folder.rglob("*"):
        if path.suffix in {".jsonl", ".json", ".toml", ".log"}:
            refuse_words(path.read_text(), path.name)

    for command in (["ls"], ["ls", "--json"], ["show", run.id], ["show", run.id, "--json"], ["compare", run.id]):
        assert dipddpm(*command, "--runs-dir", runs.root) == 0
        refuse_words(capsys.readouterr().out, " ".join(command))
    assert dipddpm("watch", run.id, "--runs-dir", runs.root) == 0
    seen = capsys.readouterr().out
    refuse_words(seen, "watch")
    assert "noisy by " in seen

    for name in FILES if kind == "dip" else ("csv", "html"):
        assert dipddpm("export", run.id, "--to", name, "--out", tmp_path / "out", "--runs-dir", runs.root) == 0
    for path in (tmp_path / "out").rglob("*"):
        refuse_words(path.relative_to(tmp_path / "out").as_posix(), "the names of exported files")
        if path.is_file() and path.suffix not in {".png", ".pdf"}:
            refuse_words(path.read_text(errors="replace"), str(path))
    record = Record.of(run)
    refuse_words(repr([[*map(scalars, record.history)], record.results(), record.options()]), "scalars and results")
    refuse_words(repr(drawings(record)), "figures")

    for size in SIZES.get(kind, (LARGE,)):
        async with opened(size) as driver:
            for key in ("m", "1", "comma", "escape", "2", "3", "4", "5", "o", "escape", "0"):
                await driver.press(key)
                refuse_words(driver.text(), f"the console of {size} after {key}")


def test_words_are_found() -> None:
    refuse_words("predicted PSNR 28.1 dB (27.0 to 29.2), again against", "a sentence")
    for text in ("PSNR 28.1", "psnr/mean", "the peaks were 30", "gain +0.1", "stop_psnr"):
        with pytest.raises(AssertionError, match="here"):
            refuse_words(text, "here")
