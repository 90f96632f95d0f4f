"""`dipddpm rm`, `prune` and `fork`."""

from __future__ import annotations

import errno
import io
import os
import tomllib
from pathlib import Path

import pytest

from dipddpm.core.runs import EventLog, Run, RunsFolder, RunState, folder, trash
from tests.tui.driving import Maker, dipddpm

Output = pytest.CaptureFixture[str]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Replace stdin by an empty text, into which a test can write the answer to a question."""
    typed = io.StringIO()
    monkeypatch.setattr("sys.stdin", typed)
    return typed


def type_answer(answer: io.StringIO, text: str) -> None:
    answer.write(text)
    answer.seek(0)


def with_checkpoints(run: Run) -> Run:
    (run.folder / "checkpoints/best.safetensors").write_bytes(b"x" * 1000)
    (run.folder / "checkpoints/last.safetensors").write_bytes(b"x" * 50_000)
    return run


def test_rm_deletes_group_only_after_yes(make: Maker, runs: RunsFolder, answer: io.StringIO, capsys: Output) -> None:
    remaining, *deleted = (
        make(name=name, settings={"group": "g" if name != "remaining" else ""}) for name in ("remaining", "a", "b")
    )
    type_answer(answer, "n\n")
    assert dipddpm("rm", "g") == 0
    assert len(runs.runs()) == 3
    answer.seek(0)
    type_answer(answer, "y\n")
    assert dipddpm("rm", "g") == 0
    output = capsys.readouterr().out
    assert all(run.id in output for run in deleted)
    assert "2 deleted" in output
    assert runs.runs() == [remaining]
    assert trash.trashed(runs) == []


def test_rm_refuses_part_of_id_that_is_also_group(make: Maker, runs: RunsFolder, capsys: Output) -> None:
    run = make()
    digits = run.id[-4:]
    member = make(settings={"group": digits})
    assert dipddpm("rm", digits, "--yes") == 2
    assert f"the run id {run.id} and the name of a group" in capsys.readouterr().err
    assert set(runs.runs()) == {run, member}
    assert dipddpm("rm", run.id, "--yes") == 0
    assert dipddpm("rm", digits, "--yes") == 0
    assert runs.runs() == []


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("command", ["rm", "prune", "stop", "resume"])
def test_empty_name_names_no_run(make: Maker, runs: RunsFolder, capsys: Output, command: str, count: int) -> None:
    made = [with_checkpoints(make()) for _ in range(count)]  # an unset variable of the shell gives an empty name
    assert dipddpm(command, "", *(["--yes"] if command in {"rm", "prune"} else [])) == 2
    assert "is empty.\n" in capsys.readouterr().err
    assert set(runs.runs()) == set(made)
    assert all(run.files("checkpoints/last.safetensors") for run in made)


def test_rm_and_prune_remove_nothing_without_answer(
    make: Maker, runs: RunsFolder, answer: io.StringIO, capsys: Output
) -> None:
    run = with_checkpoints(make(name="remaining"))
    for command in (["rm", run.id], ["prune"]):
        assert dipddpm(*command) == 2
        assert "Add --yes" in capsys.readouterr().err
    assert runs.runs() == [run]
    assert (run.folder / "checkpoints/last.safetensors").exists()
    assert dipddpm("rm", run.id, "--yes") == 0
    assert runs.runs() == []


def test_rm_deletes_the_others_if_one_run_is_live(make: Maker, runs: RunsFolder, capsys: Output) -> None:
    ended, busy, other = make(name="ended"), make(name="busy", state="running"), make(name="other")
    assert dipddpm("rm", ended.id, busy.id, other.id, "--yes") == 1
    captured = capsys.readouterr()
    assert f"{busy.id} is still live" in captured.err
    assert "2 deleted" in captured.out
    assert runs.runs() == [busy]
    assert dipddpm("rm", busy.id, "--yes") == 2
    assert dipddpm("rm", "nothing", "--yes") == 2
    assert runs.runs() == [busy]


def test_rm_and_prune_refuse_run_that_another_process_works_on(
    make: Maker, runs: RunsFolder, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that seems gone, such as one in a paused container, still holds the lock of its log."""
    monkeypatch.setattr(folder, "ENDING_SECONDS", 0.1)
    monkeypatch.setattr(folder, "LOCK_SECONDS", 0.1)
    ended, held = with_checkpoints(make(name="ended")), with_checkpoints(make(name="held", state="crashed"))
    log = EventLog(held.folder)
    assert held.status().state is RunState.crashed
    assert dipddpm("prune", "--yes") == 2
    assert f"Another process works on {held.id}" in capsys.readouterr().err
    assert (held.folder / "checkpoints/last.safetensors").exists()
    assert not (ended.folder / "checkpoints/last.safetensors").exists()
    assert dipddpm("rm", ended.id, held.id, "--yes") == 1
    assert f"Another process works on {held.id}" in capsys.readouterr().err
    assert runs.runs() == [held]
    assert dipddpm("rm", held.id, "--yes") == 2
    log.close()
    assert dipddpm("rm", held.id, "--yes") == 0
    assert runs.runs() == []


def test_prune_keeps_best_models_and_runs_without_one(make: Maker, capsys: Output) -> None:
    ended, busy = with_checkpoints(make()), with_checkpoints(make(state="running"))
    without = make("dip", psnr=[20.0])  # a run without a best model
    (without.folder / "checkpoints/last.safetensors").write_bytes(b"x" * 100)
    assert dipddpm("prune", "--dry-run") == 0
    assert (ended.folder / "checkpoints/last.safetensors").exists()
    assert dipddpm("prune", "--yes") == 0
    assert capsys.readouterr().out.count(ended.id) == 2
    assert sorted(path.name for path in (ended.folder / "checkpoints").iterdir()) == ["best.safetensors"]
    for whole in (busy, without):
        assert (whole.folder / "checkpoints/last.safetensors").exists()
    assert dipddpm("prune", "--yes") == 0
    assert capsys.readouterr().out == "There is nothing to prune.\n"


def test_fork_copies_config_except_given_options(make: Maker, capsys: Output) -> None:
    run = make("dip", psnr=[20.0], settings={"dip.lr": 0.5, "dip.channels": 13, "group": "g", "name": "lr=0.5"})
    assert dipddpm("fork", run.id, "--set", "dip.lr=0.25", "--seed", "7", "--dry-run") == 0
    config = tomllib.loads(capsys.readouterr().out)
    assert (config["dip"]["lr"], config["dip"]["channels"], config["seed"]) == (0.25, 13, 7)
    assert (config["group"], config["name"]) == ("", "")
    named = make("dip", psnr=[20.0], settings={"name": "mine"})
    assert dipddpm("fork", named.id, "--dry-run") == 0
    assert tomllib.loads(capsys.readouterr().out) == tomllib.loads((named.folder / "config.toml").read_text())


def test_fork_accepts_another_method(make: Maker, capsys: Output) -> None:
    run = make("hybrid", psnr=[20.0], settings={"images.indices": "3-4"})
    assert dipddpm("fork", run.id, "--set", "hybrid.method=guided", "--dry-run") == 0
    config = tomllib.loads(capsys.readouterr().out)
    assert (config["hybrid"]["method"], config["images"]["indices"]) == ("guided", "3-4")


@pytest.mark.parametrize(
    ("setting", "remedy"), [("dip.lrr=3", "Did you mean dip.lr?"), ("hybrid.method=x", "no option"), ("dip.lr=x", "")]
)
def test_fork_refuses_bad_settings(setting: str, remedy: str, make: Maker, runs: RunsFolder, capsys: Output) -> None:
    run = make("dip", psnr=[20.0])
    assert dipddpm("fork", run.id, "--set", setting) == 2
    assert remedy in capsys.readouterr().err
    assert runs.runs() == [run]


@pytest.mark.parametrize("access", [True, False], ids=["late", "early"])
def test_prune_reports_read_only_disk(
    make: Maker, capsys: Output, monkeypatch: pytest.MonkeyPatch, access: bool
) -> None:
    runs = [with_checkpoints(make()) for _ in range(3)]
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == "last.safetensors" and path.is_relative_to(runs[1].folder):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    if not access:
        monkeypatch.setattr(os, "access", lambda *_: False)
    assert dipddpm("prune", "--yes") == 2
    problem, remedy = capsys.readouterr().err.splitlines()
    assert "can't be removed: " in problem
    assert "permissions" in remedy
    left = [(run.folder / "checkpoints/last.safetensors").exists() for run in runs]
    assert left == ([False, True, False] if access else [True] * 3)


def test_rm_reports_files_that_stay(
    make: Maker, runs: RunsFolder, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make()
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    assert dipddpm("rm", run.id, "--yes") != 0
    assert f"{trash.TRASH}/{run.id}" in capsys.readouterr().err
    assert runs.runs() == []


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EIO])
def test_cli_never_takes_failing_disk_for_a_bug(monkeypatch: pytest.MonkeyPatch, capsys: Output, code: int) -> None:
    def fail(_: object) -> None:
        raise OSError(code, os.strerror(code), "/data/file")

    monkeypatch.setattr("dipddpm.core.runs.RunsFolder.runs", fail)
    assert dipddpm("ls") == 1
    problem, remedy = capsys.readouterr().err.splitlines()
    assert problem == f"The file /data/file can't be read or written: {os.strerror(code)}."
    assert remedy == "Check its permissions and its disk."
