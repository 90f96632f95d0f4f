"""The commands of `python -m benchmarks`, on work that is as small as possible."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import draws, works
from benchmarks.__main__ import app, main
from dipddpm.core.bench.rates import Work
from dipddpm.core.compute import checkpoint
from dipddpm.core.events import EpochFinished
from dipddpm.core.images import load_image
from dipddpm.core.runs import EventLog, RunsFolder
from tests.tui.driving import make_trained_run

MINI = {"data.dataset": "fashion-mini"}
CHECKOUT = Path(__file__).parents[2]


def run_benchmark(*arguments: object) -> int:
    """Run `python -m benchmarks` in this process and return its exit code."""
    with pytest.raises(SystemExit) as exit_info:
        main([str(argument) for argument in arguments])
    return int(exit_info.value.code or 0)


def test_benchmarks_without_arguments_list_commands() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "benchmarks"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    text = listed.stdout + listed.stderr
    for command in (
        "start-up",
        "log",
        "ablation",
        "classics",
        "console",
        "rates",
        "given",
        "given-page",
        "growth",
        "large",
        "quality",
        "learning",
        "noise-levels",
        "stops",
        "original",
        "original-pictures",
        "patch-prior",
        "posterior",
        "published",
        "predictions",
    ):
        assert f"  {command} " in text


def test_pages_name_existing_benchmarks() -> None:
    pages = "".join(page.read_text() for page in (CHECKOUT / "docs").glob("*.md"))
    named = set(re.findall(r"python -m benchmarks ([a-z-]+)", pages))
    assert {"quality", "learning", "stops"} <= named
    assert named <= {command.name for command in app.registered_commands}


def test_quality_reuses_draws_and_prints_table(
    tmp_path: Path, runs: RunsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_trained_run(runs, size=(28, 28), settings=MINI)
    command = ("quality", run.id, "-n", "128", "--nfe", "2,4", "--seeds", "2", "--out", tmp_path / "out")
    assert run_benchmark(*command, "--samplers", "ancestral,dpm++") == 0
    printed = capsys.readouterr()
    assert printed.err.count("seed") == 8
    header, *rows, protocol = printed.out.splitlines()
    assert header.endswith("RATIO TO ANCESTRAL, 4")
    assert [row.split()[:3] for row in rows] == [[s, n, "2"] for s in ("ancestral", "dpm++") for n in ("2", "4")]
    assert rows[1].endswith("1.000")
    assert "against the 500 test images of fashion-mini" in protocol
    assert load_image(tmp_path / "out" / "quality.png").shape[-2:] == (825, 1200)
    drawn = (tmp_path / "out" / "quality.json").read_bytes()
    digest = checkpoint.digest(run.folder / "checkpoints" / "best.safetensors")
    assert len(draws.load(tmp_path / "out" / "quality.json", digest, 128)) == 8
    assert run_benchmark(*command, "--samplers", "dpm++") == 0
    printed = capsys.readouterr()
    assert "seed 1:" not in printed.err
    assert len(printed.out.splitlines()) == 6
    assert (tmp_path / "out" / "quality.json").read_bytes() == drawn
    assert run_benchmark(*command, "--samplers", "dpm++", "--first-seed", "1", "--set", "eta=0.5", "--copies") == 0
    assert "dpm++, 4 NFE, seed 2:" in capsys.readouterr().err
    table = (tmp_path / "out" / "quality.csv").read_text().splitlines()
    assert len(table) == 1 + 8 + 4
    assert table[-1].startswith("dpm++,eta=0.5,4,4,128,2,")
    assert run_benchmark(*command, "--set", "etta=1") == 2
    assert "There is no option of samplers named 'etta'" in capsys.readouterr().err


def test_learning_compares_two_networks(tmp_path: Path, runs: RunsFolder, capsys: pytest.CaptureFixture[str]) -> None:
    network_run = make_trained_run(runs, size=(28, 28), settings={**MINI, "ddpm.hold_out": True})
    baseline_run = make_trained_run(
        runs, size=(28, 28), settings={**MINI, "ddpm.network": "tutorial", "ddpm.objective": "eps"}
    )
    log = EventLog(network_run.folder)
    for epoch, held_out in enumerate((1e9, 1e-9), 1):
        log.append(EpochFinished(epoch=epoch, step=epoch, loss=1.0, held_out=held_out))
    log.close()
    model = baseline_run.folder / "checkpoints" / "best.safetensors"
    command = ("learning", network_run.id, baseline_run.id, "--images", "128", "--repeats", "1", "--out", tmp_path)
    assert run_benchmark(*command, "--model", f"5={model}") == 0
    header, row, ratio = capsys.readouterr().out.splitlines()
    assert " ".join(header.split()) == "EPOCHS OF TUTORIAL LOSS EPOCHS OF UNET SHARE OF THE TIME"
    record = json.loads((tmp_path / "learning.json").read_text())
    (overtaken,) = record["overtaken"]
    assert 1 < overtaken["epochs"] < 2
    assert overtaken["share"] == pytest.approx(overtaken["epochs"] * record["ratio"] / 5)
    assert row.split()[0] == "5"
    assert ratio.startswith("An epoch of unet takes")
    assert load_image(tmp_path / "learning.png").shape[-2:] == (825, 1200)


def test_learning_refuses_runs_of_same_network_and_invalid_model(
    runs: RunsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    network_run, baseline_run = (
        make_trained_run(runs, settings={**MINI, "ddpm.objective": objective}) for objective in ("v", "eps")
    )
    assert run_benchmark("learning", network_run.id, baseline_run.id, "--model", "5=x") == 2
    assert "Both runs have the same network" in capsys.readouterr().err
    baseline_run = make_trained_run(
        runs, size=(28, 28), settings={**MINI, "ddpm.network": "tutorial", "ddpm.objective": "eps"}
    )
    assert run_benchmark("learning", network_run.id, baseline_run.id, "--model", "x") == 2
    assert "'x' is not an epoch and a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["quality", "reference", "--samplers", "euler"], "no sampler named 'euler'"),
        (["quality", "reference", "--nfe", "5,many"], "not a list of numbers"),
        (["quality", "nothing"], "There are no runs"),
        (["learning", "nothing", "nothing", "--model", "5=x"], "There are no runs"),
        (["rates", "convolution"], "convolutions"),
        (["published", "nowhere"], "doesn't have the published network's code"),
        (["original", "nowhere", "--dataset", "fashion-mini"], "doesn't have the original's code"),
        (["stops", "--dataset", "fashion-mini", "--images", "600"], "no image 600"),
    ],
)
def test_benchmarks_refuse_invalid_arguments_with_message(
    command: list[str], words: str, runs: RunsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_benchmark(*command) == 2
    assert words in capsys.readouterr().err


def test_stops_fills_table_in_several_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = [
        "--dataset",
        "fashion-mini",
        "--images",
        "0-1",
        "--iterations",
        "4",
        "--task",
        "denoise",
        "--device",
        "cpu",
    ]
    command = ("stops", *small, "--out", tmp_path / "stops.json")
    assert run_benchmark(*command, "--seeds", "1") == 0
    assert capsys.readouterr().err.count("below the peak") == 1
    assert run_benchmark(*command, "--seeds", "2") == 0
    printed = capsys.readouterr()
    assert printed.err.count("seed 1:") == printed.err.count("below the peak") == 1
    header, row = printed.out.splitlines()
    assert header.split() == ["TASK", "RULE", "SEEDS", "STOP", "PSNR", "PEAK", "FINAL", "GAP", "95%"]
    assert row.split()[:3] == ["denoise:sigma=25", "discrepancy", "2"]


def test_rates_prints_and_stores_one_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.zeros(64, 64)
    monkeypatch.setitem(works.PARTS, "dip", lambda _: [Work("dip", "product", "products", 1, lambda: x @ x)])
    assert run_benchmark("rates", "dip", "--device", "cpu", "--out", tmp_path / "rates.json") == 0
    assert "dip, product" in capsys.readouterr().out
    (rate,) = json.loads((tmp_path / "rates.json").read_text())["rates"]
    assert rate["flops"] == 2 * 64**3
