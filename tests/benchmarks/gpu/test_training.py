"""The branches of the parts that only a GPU takes, with stand-ins for what takes long."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.gpu import fits, runs, training
from benchmarks.gpu.parts import Settings
from benchmarks.gpu.records import Figure, Note
from dipddpm.core.bench import roofline
from dipddpm.core.runs import reference
from tests.benchmarks.test_published import checkout
from tests.helpers import PATIENCE_SECONDS

REFERENCE_RUNS = reference.FOLDER
"""The folder of the shipped runs, which the other tests hide."""
MACHINE = roofline.Machine(device="cpu", threads=1, flops={"float32": 1e12, "bfloat16": 1e12}, bandwidth=1e11)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(roofline, "measure", lambda device: MACHINE)
    monkeypatch.setattr(torch, "compile", lambda network, **_: network)
    return Settings(device="cpu", output=str(tmp_path), runs=str(tmp_path / "runs"))


def collect(records: Iterator[Figure | Note]) -> tuple[list[Figure], list[Note]]:
    measured = list(records)
    figures = [record for record in measured if isinstance(record, Figure)]
    return figures, [record for record in measured if isinstance(record, Note)]


def test_tutorial_times_every_form_and_published_code(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, Any]] = []

    def endless(network: str, preset: str | None, options: dict[str, Any], device: torch.device) -> Iterator[object]:
        made.append(options)
        return iter(lambda: torch.ones(3, 3) @ torch.ones(3, 3), None)

    monkeypatch.setattr(training, "training_of", endless)
    monkeypatch.setattr(training, "READ_EVERY", 1)
    (tmp_path / "published").mkdir()
    given = Settings(**{**settings.to_dict(), "published": str(checkout(tmp_path / "published"))})  # type: ignore[arg-type]
    figures, notes = collect(training.tutorial(given, time.monotonic() + PATIENCE_SECONDS))
    assert [(each.name, each.precision) for each in figures] == [
        ("an epoch, published code", "float32"),
        ("an epoch, eager", "float32"),
        ("an epoch, eager", "bfloat16"),
        ("an epoch, compiled", "float32"),
        ("an epoch, compiled", "bfloat16"),
    ]
    assert [note.text for note in notes] == ["CUDA graphs need a GPU."]
    assert all("times the published code" in figure.note for figure in figures[1:])
    assert {"ddpm.compile": True, "ddpm.precision": "bfloat16"} in made


def test_large_and_samples_measure_compiled_forms_too(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "FOLDER", REFERENCE_RUNS)
    monkeypatch.setattr(fits, "LARGE", {False: (64, 4, 1)})
    monkeypatch.setattr(fits, "SAMPLES", {False: (2, (3, 5))})
    figures, _ = collect(itertools.chain(fits.large(settings, 0.0), fits.samples(settings, 0.0)))
    names = [figure.name for figure in figures]
    assert sum("compiled" in name for name in names) == 2
    assert [name.rpartition(", ")[2] for name in names[4:]] == ["eager"] * 2 + ["CUDA graphs"] * 2
    assert all(figure.value > 0 for figure in figures)


def test_training_is_as_long_as_there_is_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs: list[int] = []

    def refuse(settings: Settings, config: Any) -> None:
        epochs.append(config.ddpm.epochs)
        raise InterruptedError

    monkeypatch.setattr(training, "_seconds_per_epoch", lambda settings: (1.0, 40.0))
    monkeypatch.setattr(runs, "create", refuse)
    for seconds in (200.0, 2000.0, 10.0):
        with pytest.raises(InterruptedError):
            collect(training.preset(settings, time.monotonic() + seconds))
    assert epochs[0] in {102, 103}, "(200 - 15 - 30 - 20) / 1.3"
    assert epochs[1:] == [184, 1]


@pytest.mark.parametrize(("outcome", "counts"), [("pass", [1, 0, 0]), ("assert 0, 'a | b'", [0, 1, 0])])
def test_tests_are_counted_by_outcome(
    outcome: str, counts: list[int], settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tests" / "gpu"
    folder.mkdir(parents=True)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    gpu: x\naddopts = -q\n")
    body = f"import pytest\n\n@pytest.mark.gpu\ndef test_x():\n    {outcome}\n"
    (folder / "test_x.py").write_text(body)
    monkeypatch.setattr(training, "TESTS", folder)
    figures, notes = collect(training.tests(settings, time.monotonic() + PATIENCE_SECONDS))
    assert [figure.value for figure in figures] == counts
    assert [note.text.partition(" ")[0] for note in notes] == ["FAILED"] * counts[1]


def test_tests_that_are_cut_report_how_many_ended(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tests" / "gpu"
    folder.mkdir(parents=True)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    gpu: x\naddopts = -q\n")
    body = "import pathlib, pytest, time\npytestmark = pytest.mark.gpu\ndef test_a(): pass\n"
    body += f"def test_b():\n    pathlib.Path({str(tmp_path / 'began')!r}).touch()\n    time.sleep(999)\n"
    (folder / "test_x.py").write_text(body)
    monkeypatch.setattr(training, "TESTS", folder)

    class Timer(threading.Thread):
        """Fires once the second test has begun."""

        def __init__(self, seconds: float, fire: Callable[[], object]) -> None:
            super().__init__(daemon=True)
            self.fire = fire

        def run(self) -> None:
            while not (tmp_path / "began").exists():
                time.sleep(0.01)
            self.fire()

        def cancel(self) -> None:
            pass

    monkeypatch.setattr(training, "threading", SimpleNamespace(Timer=Timer))
    figures, notes = collect(training.tests(settings, time.monotonic() + PATIENCE_SECONDS))
    assert figures[0].value == 1
    assert [note.kind for note in notes] == ["unfinished"]
