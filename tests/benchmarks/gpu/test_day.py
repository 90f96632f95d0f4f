"""The day with parts that fail, hang and continue, and a few real parts in miniature."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.gpu import records
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.day import Day
from benchmarks.gpu.parts import PARTS, Part, Settings, time_limit
from benchmarks.gpu.records import Figure, Note, PartResult
from benchmarks.gpu.training import TESTS
from dipddpm.core import registry
from tests.helpers import PATIENCE_SECONDS

CHECKOUT = Path(__file__).parents[3]
SCRIPT = CHECKOUT / "scripts" / "gpu_day.sh"


def part(name: str, path: str, seconds: float = PATIENCE_SECONDS, *, elastic: bool = False) -> Part:
    return Part(name=name, title=name.title(), goal="", seconds=seconds, path=path, elastic=elastic)


def settings(tmp_path: Path, runs: str = "runs") -> Settings:
    return Settings(device="cpu", miniature=True, output=str(tmp_path / "out"), runs=str(tmp_path / runs))


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Replace the parts, and the clock by one that jumps beyond all limits once the endless part has a figure."""
    records_of_endless = tmp_path / "runs" / "records-dip.jsonl"

    def clock() -> float:
        is_endless = records_of_endless.is_file() and records_of_endless.stat().st_size > 0
        return time.monotonic() + 10 * PATIENCE_SECONDS * is_endless

    monkeypatch.setattr("benchmarks.gpu.day.time", SimpleNamespace(monotonic=clock, sleep=time.sleep))
    monkeypatch.setattr("benchmarks.gpu.day.GRACE_SECONDS", 1.0)
    monkeypatch.setattr("benchmarks.gpu.day.PARTS", FAKES)


FAKES = (
    part("tests", "tests.benchmarks.gpu.fakes:good"),
    part("tutorial", "tests.benchmarks.gpu.fakes:bad"),
    part("preset", "tests.benchmarks.gpu.fakes:half", elastic=True),
    part("dip", "tests.benchmarks.gpu.fakes:endless"),
)


def test_day_records_good_failed_and_cut_parts_and_continues(fakes: None, tmp_path: Path) -> None:
    given = settings(tmp_path)
    assert not Day(given, 60, FAKES).run()
    stored = json.loads((tmp_path / "out" / "results.json").read_text())["parts"]
    assert [(each["name"], each["state"]) for each in stored] == [
        ("tests", "done"),
        ("tutorial", "failed"),
        ("preset", "partly done"),
        ("dip", "cut"),
    ]
    assert all(len(each["figures"]) == 1 for each in stored)
    for key in ("card", "driver", "torch"):
        assert key in stored[0]["figures"][0]
    assert "this card is on fire" in stored[1]["tail"]
    pid = int((tmp_path / "out" / "child.txt").read_text())
    assert not Path("/proc", str(pid)).exists() or "Z" in Path("/proc", str(pid), "stat").read_text().split()[2]
    page = (tmp_path / "out" / "results.md").read_text()
    assert "- Tests: The sampler | restart doesn't exist." in page
    assert "- Preset: 1 of 2 steps." in page

    # Another machine, which has the results and the packed runs alone, measures what is left.
    other = settings(tmp_path, "elsewhere")
    Day(other, 60, (FAKES[0], FAKES[2])).run()
    again = records.load(tmp_path / "out" / "results.json", miniature=True)
    assert again["tests"].figures[0].value == 1, "a part that is done is skipped"
    assert again["preset"].state == "done"
    assert again["preset"].figures[0].value == 2, "a part that was partly done continues"
    assert len(list((tmp_path / "out").glob("*"))) <= 8


def test_day_without_time_names_every_part(fakes: None, tmp_path: Path) -> None:
    assert not Day(settings(tmp_path), 0.01, FAKES).run()
    page = (tmp_path / "out" / "results.md").read_text()
    assert page.count("There was no time left for this part.") == 2 * len(FAKES)


def test_time_limit_shares_what_fixed_parts_leave() -> None:
    parts = [part("a", "", 10), part("b", "", 30, elastic=True), part("c", "", 20), part("d", "", 10, elastic=True)]
    assert time_limit(parts, 100) == 10
    assert time_limit(parts[1:], 100) == 60, "three quarters of the 80 s that the fixed part leaves"
    assert time_limit(parts[2:], 40) == 20
    assert time_limit(parts[3:], 33) == 33, "the last part gets the rest"
    assert time_limit(parts[1:], 15) == 0
    assert time_limit(parts, 4) == 4


def test_parts_exist_and_fit_into_nine_minutes() -> None:
    assert all(registry.resolve(each.path) for each in PARTS)
    assert sum(each.seconds for each in PARTS if not each.elastic) < 0.6 * 9 * 60
    assert TESTS.is_dir()


def test_results_survive_storing(tmp_path: Path) -> None:
    result = PartResult(name="dip", title="A | B", goal="g", state="done", machine={"card": "H", "torch": "t"})
    result.add(records.encode(Figure(name="x", value=1234.5, unit="s", precision="bfloat16", note="n")))
    result.add(records.encode(Note("text", "table")))
    result.add('{"type": "figure", "na')
    records.save(tmp_path, [result], miniature=False)
    assert records.load(tmp_path / "results.json", miniature=False) == {"dip": result}
    assert "| x | 1,234 | s | bfloat16 | H, t | n |" in (tmp_path / "results.md").read_text()
    with pytest.raises(ValueError, match="another size than a miniature"):
        records.load(tmp_path / "results.json", miniature=True)
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(ValueError, match="no measurements"):
        records.load(tmp_path / "results.json", miniature=True)


def test_command_refuses_unknown_part_and_missing_folder(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (["out", "--only", "dpi"], "there is no part dpi"),
        (["out", "--wheels", "/nowhere"], "there is no folder /nowhere"),
        ([], "give the folder"),
    ):
        with pytest.raises(SystemExit) as error:
            main(arguments)
        assert error.value.code == 2
        assert words in capsys.readouterr().err


def miniature(folder: Path, *options: str) -> dict[str, PartResult]:
    """Run the script in miniature, and return its results."""
    environment = {**os.environ, "DIPDDPM_SLOTS_DIR": str(folder / "slots")}
    command = [str(SCRIPT), str(folder / "out"), "--miniature", *options]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    results = records.load(folder / "out" / "results.json", miniature=True)
    log = (folder / "out" / "log.txt").read_text()[-3000:]
    assert finished.returncode == 0, finished.stdout + finished.stderr + log
    return results


def test_script_measures_a_few_parts_in_miniature(tmp_path: Path) -> None:
    chosen = ("--only", "samples,large", "--minutes", "90")  # enough for a busy machine
    results = miniature(tmp_path, *chosen)
    assert [result.state for result in results.values()] == ["done", "done"]
    assert len(results["samples"].figures) == 2
    assert any(note.kind == "waiting" and "--original" in note.text for note in results["large"].notes)
    again = miniature(tmp_path, *chosen)
    assert again == results


@pytest.mark.durability
def test_script_measures_every_part_in_miniature(tmp_path: Path) -> None:
    results = miniature(tmp_path)
    assert list(results) == [each.name for each in PARTS]
    assert all(result.figures for result in results.values())
    files = list((tmp_path / "out").iterdir())
    assert len(files) <= 8
    assert all(path.stat().st_size < 16 << 20 for path in files)
