"""`dipddpm bench` on the command line; what it measures is tested with `dipddpm.core.bench`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dipddpm.core.bench import quality, works
from dipddpm.core.bench.rates import Work
from dipddpm.core.compute import checkpoint
from dipddpm.core.events import EpochFinished
from dipddpm.core.images import load_image
from dipddpm.core.runs import EventLog, RunsFolder
from tests.tui.driving import dipddpm, make_trained_run

MINI = {"data.dataset": "fashion-mini"}


def test_quality_is_measured_once_and_told_as_a_table(
    tmp_path: Path, runs: RunsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_trained_run(runs, size=(28, 28), **MINI)
    command = ("bench", "quality", run.id, "-n", "128", "--nfe", "2,4", "--seeds", "2", "--out", tmp_path / "out")
    assert dipddpm(*command, "--samplers", "ancestral,dpm++") == 0
    told = capsys.readouterr()
    assert told.err.count("seed") == 8
    header, *rows, protocol, picture = told.out.splitlines()
    assert header.endswith("OF ANCESTRAL, 4")
    assert [row.split()[:3] for row in rows] == [[s, n, "2"] for s in ("ancestral", "dpm++") for n in ("2", "4")]
    assert rows[1].endswith("1.000")
    assert "against the 500 test images of fashion-mini" in protocol
    assert load_image(picture).shape[-2:] == (825, 1200)
    drawn = (tmp_path / "out" / "quality.json").read_bytes()
    digest = checkpoint.digest(run.folder / "checkpoints" / "best.safetensors")
    assert len(quality.load(tmp_path / "out" / "quality.json", digest, 128)) == 8
    assert dipddpm(*command, "--samplers", "dpm++") == 0
    told = capsys.readouterr()
    assert "seed 1:" not in told.err
    assert len(told.out.splitlines()) == 7
    assert (tmp_path / "out" / "quality.json").read_bytes() == drawn


def test_a_network_is_timed_against_another(
    tmp_path: Path, runs: RunsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = make_trained_run(runs, size=(28, 28), **MINI, **{"ddpm.hold_out": True})
    theirs = make_trained_run(runs, size=(28, 28), **MINI, **{"ddpm.network": "tutorial", "ddpm.objective": "eps"})
    log = EventLog(ours.folder)
    for epoch, held_out in enumerate((1e9, 1e-9), 1):
        log.append(EpochFinished(epoch=epoch, step=epoch, loss=1.0, held_out=held_out))
    log.close()
    model = theirs.folder / "checkpoints" / "best.safetensors"
    command = ("bench", "learning", ours.id, theirs.id, "--images", "128", "--repeats", "1", "--out", tmp_path)
    assert dipddpm(*command, "--model", f"5={model}") == 0
    header, row, ratio, picture = capsys.readouterr().out.splitlines()
    assert " ".join(header.split()) == "EPOCHS OF TUTORIAL LOSS EPOCHS OF UNET SHARE OF THE TIME"
    told = json.loads((tmp_path / "learning.json").read_text())
    (overtaken,) = told["overtaken"]
    assert 1 < overtaken["epochs"] < 2
    assert overtaken["share"] == pytest.approx(overtaken["epochs"] * told["ratio"] / 5)
    assert row.split()[0] == "5"
    assert ratio.startswith("An epoch of unet takes")
    assert load_image(picture).shape[-2:] == (825, 1200)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["quality", "reference", "--samplers", "euler"], "no sampler named 'euler'"),
        (["quality", "reference", "--nfe", "5,many"], "no list of evaluations"),
        (["quality", "nothing"], "There are no runs"),
        (["learning", "nothing", "nothing", "--model", "5=x"], "There are no runs"),
    ],
)
def test_what_can_not_be_is_refused(
    command: list[str], words: str, runs: RunsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dipddpm("bench", *command) == 2
    assert words in capsys.readouterr().err


def test_runs_that_do_not_compare_are_refused(runs: RunsFolder, capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs = (make_trained_run(runs, **MINI, **{"ddpm.objective": objective}) for objective in ("v", "eps"))
    assert dipddpm("bench", "learning", ours.id, theirs.id, "--model", "5=x") == 2
    assert "Both runs are of the same network" in capsys.readouterr().err
    theirs = make_trained_run(runs, size=(28, 28), **MINI, **{"ddpm.network": "tutorial", "ddpm.objective": "eps"})
    assert dipddpm("bench", "learning", ours.id, theirs.id, "--model", "x") == 2
    assert "'x' names no model after an epoch" in capsys.readouterr().err


def test_speeds_are_told_as_tables_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.zeros(64, 64)
    monkeypatch.setitem(works.PARTS, "dip", lambda _: [Work("dip", "a product", "products", 1, lambda: x @ x)])  # type: ignore[arg-type]
    assert dipddpm("bench", "--only", "dip", "--device", "cpu", "--out", tmp_path / "out") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["MACHINE", "THREADS", "COPY"]
    header = next(number for number, line in enumerate(lines) if line.startswith("PART"))
    assert lines[header + 1].split()[:3] == ["dip", "a", "product"]
    kept = json.loads((tmp_path / "out" / "bench.json").read_text())
    (rate,) = kept["rates"]
    assert rate["unit"] == "products"
    assert rate["flops"] == 2 * 64**3
    assert rate["per_second"] > 0


def test_a_part_that_does_not_exist_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dipddpm("bench", "--only", "grwth", "--out", tmp_path / "out") == 2
    assert "growth" in capsys.readouterr().err
    assert dipddpm("bench", "--against", tmp_path, "--out", tmp_path / "out") == 2
    assert "no code of the published network" in capsys.readouterr().err
