"""`dipddpm sweep` and the commands that take a group. The runs wait in a real queue, so that none loads torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dipddpm.core.data.identity import files_loaded
from dipddpm.core.launch import local, queue
from dipddpm.core.runs import CHECKPOINT_FILE, RunsFolder, RunState
from tests.helpers import PATIENCE_SECONDS, Until, append_events
from tests.tui.driving import Maker, dipddpm

Output = pytest.CaptureFixture[str]
DIP = ("sweep", "dip", "--preset", "quick", "--dataset", "fashion-mini", "--images", "2", "--device", "cpu")
RATES = (*DIP, "--over", "dip.lr=0.01,0.1", "--seeds", "2")


@pytest.fixture
def busy(runs: RunsFolder, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hold the only slot, so that every started run waits, and give workers time to start before they are stopped."""
    monkeypatch.setattr(local, "REQUEST_SECONDS", PATIENCE_SECONDS)
    held = queue.acquire("something else", ["cpu"])
    assert held is not None
    yield
    held.release()


def rows(capsys: Output) -> list[list[str]]:
    return [line.split() for line in capsys.readouterr().out.splitlines()]


@pytest.mark.usefixtures("busy")
def test_sweep_queues_runs_and_resumes_stopped_ones(runs: RunsFolder, until: Until, capsys: Output) -> None:
    assert dipddpm(*RATES) == 0
    output = capsys.readouterr()
    made = list(reversed(runs.runs()))
    configs = {run.id: run.config() for run in made}
    (group,) = {config.group for config in configs.values()}
    assert group.startswith("dip-lr-")
    assert f"4 runs in the group {group}, 4 of them started now." in output.err
    assert f"dipddpm compare --group {group}" in output.err
    assert sorted((config.dip.lr, config.seed, config.name) for config in configs.values()) == [  # type: ignore[union-attr]
        (0.01, 0, "lr=0.01 seed=0"),
        (0.01, 1, "lr=0.01 seed=1"),
        (0.1, 0, "lr=0.1 seed=0"),
        (0.1, 1, "lr=0.1 seed=1"),
    ]
    until(lambda: len(queue.waiting()) == 4)
    assert [configs[ticket.run].name for _, ticket in queue.waiting()] == sorted(c.name for c in configs.values())

    assert dipddpm(*RATES, "--json") == 0
    records = json.loads(capsys.readouterr().out)
    assert {one["run"] for one in records["runs"]} == configs.keys()
    assert {one["how"] for one in records["runs"]} == {"queued already"}

    assert dipddpm("stop", group) == 0
    assert capsys.readouterr().out == f"4 runs of the group {group}: 4 stopped\n"
    assert dipddpm("stop", group) == 2
    assert dipddpm(*RATES, "--seeds", "3") == 0
    assert [row[-2:] for row in rows(capsys)[1:]] == [
        ["stopped,", "resumes"],
        ["stopped,", "resumes"],
        ["2", "new"],
    ] * 2
    assert len(runs.runs()) == 6
    assert dipddpm("ls", "--group", group, "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed) == 6
    assert {one["group"] for one in listed} == {group}
    assert {run.status().state for run in local.stop_all(runs.runs())} == {RunState.stopped}


def test_sweep_dry_run_lists_combinations_and_makes_no_runs(runs: RunsFolder, capsys: Output) -> None:
    tasks = "task=denoise:sigma=50;inpaint:missing=0.7,sigma=5"
    assert dipddpm(*DIP, "--over", tasks, "--over", "dip.iterations=10,20", "--dry-run", "--name", "night") == 0
    assert [row[1:] for row in rows(capsys)] == [
        ["TASK", "ITERATIONS", "SEED"],
        ["denoise:sigma=50", "10", "0", "new"],
        ["denoise:sigma=50", "20", "0", "new"],
        ["inpaint:missing=0.7,sigma=5", "10", "0", "new"],
        ["inpaint:missing=0.7,sigma=5", "20", "0", "new"],
    ]
    assert runs.runs() == []
    assert dipddpm("sweep", "hybrid", "--over", "method=calibrated,guided", "--epochs", "1", "--dry-run") == 0
    assert [row[1] for row in rows(capsys)] == ["METHOD", "calibrated", "guided"]


@pytest.mark.parametrize(
    ("options", "problem", "remedy"),
    [
        (["--over", "dip.lrr=1,2"], "no option 'dip.lrr'", "Did you mean dip.lr?"),
        (["--over", "dip.lr=0.1,much"], "dip.lr must be a number", "Give a value such as 0.02"),
        (["--over", "dip.lr=0.1,-1"], "dip.lr must be a number above 0", "Give a value such as 0.02"),
        (["--over", "dip.lr"], "has no values to try", "--over dip.lr=0.01,0.1"),
        (["--over", "dip.lr=0.1,,0.2"], "has no values to try", "--over dip.lr=0.01,0.1"),
        (["--over", "dip.lr=0.1,0.10"], "'lr=0.1' and 'lr=0.10' are the same experiment", "Leave 'lr=0.10' out"),
        (["--over", "threads=1,2"], "are the same experiment", "Leave 'threads=2' out"),
        (["--over", "dip.lr=1", "--over", "dip.lr=2"], "names dip.lr twice", "one --over"),
        (["--over", "dip.lr=1,2", "--set", "dip.lr=3"], "dip.lr has a value of its own", "Leave out one"),
        (
            ["--over", "dip.iterations=1,2", "--iterations", "3"],
            "dip.iterations has a value of its own",
            "Leave out one",
        ),
        (["--over", "seed=1,2", "--seeds", "3"], "seed has a value of its own", "Leave out one"),
        (["--over", "task=denoise,inpiant"], "no task named 'inpiant'", "Did you mean inpaint?"),
        (["--over", "method=a,b"], "dip takes no method", "run hybrid"),
        ([], "nothing to vary", "--over KEY=V1,V2"),
        (["--group", "a group", "--seeds", "2"], "group can't be 'a group'", "letters, digits"),
        (["--seeds", "1001"], "The sweep has 1,001 runs", "the limit is 1,000 runs"),
        (["--over", "images.indices=0-1,2-3;9-99999"], "There is no image 99999", "Choose indices from 0 to"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_sweep_makes_no_runs_if_one_combination_is_wrong(
    options: list[str], problem: str, remedy: str, runs: RunsFolder, capsys: Output
) -> None:
    arguments = (
        DIP if "images.indices" not in " ".join(options) else tuple(a for a in DIP if a not in {"--images", "2"})
    )
    assert dipddpm(*arguments, *options) == 2
    output = capsys.readouterr()
    assert problem in output.err.splitlines()[0]
    assert remedy in output.err.splitlines()[1]
    assert output.out == ""
    assert runs.runs() == []


def test_ls_and_compare_suggest_nearest_group(make: Maker, capsys: Output) -> None:
    make("dip", settings={"group": "night"})
    for command in (["ls", "--group", "nigth"], ["compare", "--group", "nigth"]):
        assert dipddpm(*command) == 2
        assert "There is no group of runs named 'nigth'.\nDid you mean night?" in capsys.readouterr().err


def test_watch_group_reports_each_end(make: Maker, capsys: Output) -> None:
    ended = make("dip", psnr=[20.0], name="lr=0.1", settings={"group": "night"})
    make("dip", psnr=[21.0], name="lr=0.2", settings={"group": "night"})
    assert dipddpm("watch", "night") == 0
    assert f"{ended.id}  lr=0.1: finished, 20.50 dB" in capsys.readouterr().out.splitlines()
    make("dip", state="stopped", settings={"group": "night"})
    assert dipddpm("watch", "night") == 130
    make("dip", state="failed", settings={"group": "night"})
    capsys.readouterr()
    assert dipddpm("watch", "night", "--json") == 1
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(one["state"] for one in records) == ["failed", "finished", "finished", "stopped"]


def make_group(make: Maker) -> None:
    """Make a group `g` of two learning rates with two seeds each, and a stopped run."""
    for lr, psnrs in ((0.1, [20.0, 22.0]), (0.02, [24.0, 25.0])):
        for seed, psnr in enumerate(psnrs):
            make("dip", psnr=[psnr], settings={"dip.lr": lr, "seed": seed, "group": "g"})
    make("dip", psnr=[11.0], state="stopped", settings={"dip.lr": 0.02, "seed": 2, "group": "g"})


def test_compare_prints_mean_and_spread_per_combination(make: Maker, capsys: Output) -> None:
    make_group(make)
    assert dipddpm("compare", "--group", "g") == 0
    output = capsys.readouterr()
    lines = [line.split() for line in output.out.splitlines()]
    assert lines[0][:3] == ["LR", "RUNS", "PSNR"]
    # `make` adds half a dB to each PSNR that it is given.
    assert lines[1][:6] == ["0.02", "2", "of", "3", "25.00", "±0.71"]
    assert "25.00 ±0.71" in output.out.splitlines()[1]
    assert "21.50 ±1.41" in output.out.splitlines()[2]
    assert "1 run is not finished and not counted." in output.err

    assert dipddpm("compare", "--group", "g", "--by", "seed", "--json") == 0
    table = json.loads(capsys.readouterr().out)
    assert [(one["values"], one["counted"], len(one["runs"])) for one in table] == [
        ({"seed": "0"}, 2, 2),
        ({"seed": "1"}, 2, 2),
        ({"seed": "2"}, 1, 1),
    ]
    assert table[0]["outcomes"]["psnr"] == {"mean": 22.5, "std": pytest.approx(8**0.5), "n": 2}
    assert table[0]["outcomes"]["best_loss"] is None


def test_compare_lists_named_runs_singly(make: Maker, capsys: Output) -> None:
    make_group(make)
    one, other = make("ddpm", losses=[0.3, 0.1]), make("ddpm", losses=[0.2, 0.25], settings={"ddpm.lr": 0.01})
    assert dipddpm("compare", one.id, other.id) == 0
    header, *lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert header == ["RUN", "LR", "RUNS", "BEST", "LOSS", "LOSS", "SECONDS"]
    assert sorted(lines) == sorted(
        [
            [one.id, "0.001", "finished", "0.1000", "0.1000", "30.0"],
            [other.id, "0.01", "finished", "0.2000", "0.2500", "30.0"],
        ]
    )
    assert dipddpm("compare", "g", "--by", "lrr") == 2
    assert "Did you mean lr?" in capsys.readouterr().err
    assert dipddpm("compare", one.id, other.id, "--by", "zzz") == 2
    assert "no option 'zzz'.\nThey differ in: ddpm.lr.\n" in capsys.readouterr().err
    assert dipddpm("compare") == 2


@pytest.mark.usefixtures("busy")
def test_sweep_refuses_to_resume_on_changed_files_before_it_starts_anything(
    runs: RunsFolder, tmp_path: Path, capsys: Output
) -> None:
    photo = tmp_path / "photo.png"
    Image.new("L", (16, 12), 90).save(photo)
    command = ["sweep", "dip", "--image", str(photo), "--over", "dip.lr=0.01,0.1", "--device", "cpu"]
    assert dipddpm(*command) == 0
    first, second = runs.runs()
    assert dipddpm("stop", first.status().summary.group) == 0
    loaded = files_loaded([str(photo)], [np.full((1, 12, 16), 91 / 255, np.float32)])
    append_events(second, loaded)
    (second.folder / CHECKPOINT_FILE).touch()
    capsys.readouterr()
    assert dipddpm(*command) == 2
    assert f"{photo} has other pixels" in capsys.readouterr().err
    assert {run.status().state for run in runs.runs()} == {RunState.stopped}
