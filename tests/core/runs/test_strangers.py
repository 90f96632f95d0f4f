"""Tests of untrusted run folders: pipes, devices, links and garbage block no reader and lead nowhere outside."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.errors import UserError
from dipddpm.core.launch import local
from dipddpm.core.launch.worker import main as work
from dipddpm.core.runs import (
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    EVENTS_FILE,
    LOG_FILE,
    STOP_FILE,
    SUMMARY_FILE,
    EventLog,
    EventReader,
    Run,
    RunsFolder,
    RunState,
    extend,
    heartbeat,
    trash,
)
from dipddpm.tui.console.panes.config import _environment
from dipddpm.tui.console.reader import TextTail
from dipddpm.tui.shared import marks
from dipddpm.tui.shared.runlist import make_row
from tests.helpers import this_process, unprivileged

STARTED = events.RunStarted(kind="dip", method="skip", device="cpu", steps=10, time=1e9)
CONTENTS = {
    EVENTS_FILE: events.encode(STARTED) + events.encode(events.RunFinished(seconds=1.0, time=1e9 + 1)),
    CONFIG_FILE: configs.to_toml(configs.build("dip", settings={"name": "boots"})).encode(),
}
READ = (EVENTS_FILE, CONFIG_FILE, SUMMARY_FILE, heartbeat.WORKER_FILE, marks.NOTES_FILE, ENVIRONMENT_FILE, LOG_FILE)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return a_run(tmp_path / "runs" / "20261123-094512-dip-3f9a")


def a_run(folder: Path) -> Run:
    for name in ("checkpoints", "images"):
        (folder / name).mkdir(parents=True)
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    return Run(folder)


def read_all(run: Run) -> None:
    """Read everything that the list, the panes and the command line read of a run."""
    status = run.status()
    make_row(status, marks.read(run.folder))
    assert status.config is not None or status.trouble
    run.events()
    EventReader(run.folder).read()
    TextTail(run.folder / LOG_FILE).read()
    _environment(run)
    trash.disk_use(run)
    RunsFolder(run.folder.parent).runs()


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


STRANGE: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "loop": lambda path: path.symlink_to(path.name),
    "nothing": lambda path: path.symlink_to("gone"),
    "socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
    "sparse": _sparse,
    "zeros": lambda path: path.write_bytes(bytes(200_000)),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x80" * 999),
    "dots": lambda path: path.write_bytes(b"a" + b".a" * 30_000 + b"=1"),
    "brackets": lambda path: path.write_bytes(b"a=" + b"[" * 60_000),
    "braces": lambda path: path.write_bytes(b'{"a":' * 60_000),
    "digits": lambda path: path.write_bytes(b"a=" + b"9" * 60_000),
}


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("strange", [name for name in STRANGE if name != "sparse"])
def test_run_reading_skips_strange_files(run: Run, name: str, strange: str) -> None:
    (run.folder / name).unlink(missing_ok=True)
    STRANGE[strange](run.folder / name)
    read_all(run)


@pytest.mark.parametrize("name", [name for name in READ if name != EVENTS_FILE])
def test_run_reading_does_not_load_huge_file(run: Run, name: str) -> None:
    (run.folder / name).unlink(missing_ok=True)
    STRANGE["sparse"](run.folder / name)
    read_all(run)


def test_runs_folder_marks_unreadable_runs_and_lists_others(tmp_path: Path) -> None:
    read_all(a_run(tmp_path / "once"))  # imports everything before the change of user
    with unprivileged() as root:
        runs = [a_run(root / f"20261123-09451{n}-dip-3f9{n}") for n in range(4)]
        secret = a_run(root / "secret")
        runs[0].folder.chmod(0)
        (runs[1].folder / CONFIG_FILE).chmod(0)
        (runs[2].folder / EVENTS_FILE).chmod(0)
        secret.folder.chmod(0)
        assert [run.id for run in RunsFolder(root).runs()] == [run.id for run in reversed(runs)]
        assert [run.status().state for run in runs] == [
            RunState.broken,
            RunState.broken,
            RunState.crashed,
            RunState.finished,
        ]
        assert "Permission denied" in runs[1].status().trouble
        for run in runs:
            read_all(run)


def test_run_actions_refuse_links(run: Run, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("mine")
    for name in (EVENTS_FILE, LOG_FILE, STOP_FILE, "checkpoints", "images"):
        path = run.folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.symlink_to(elsewhere if name in {"checkpoints", "images"} else elsewhere / "precious")
        for act in (local.start, local.request_stop, trash.keep_best_only):
            with pytest.raises(UserError, match=f"{name} of {run.id} is a link or a pipe"):
                act(run)
        assert work([str(run.folder), "--now"]) == 2
        path.unlink()
        path.mkdir() if name in {"checkpoints", "images"} else path.write_bytes(CONTENTS.get(name, b""))
    assert [(path.name, path.read_text()) for path in elsewhere.iterdir()] == [("precious", "mine")]
    (run.folder / EVENTS_FILE).unlink()
    (run.folder / EVENTS_FILE).symlink_to(elsewhere / "precious")
    with pytest.raises(OSError, match="symbolic link"):
        EventLog(run.folder)


def test_local_start_refuses_worker_log_that_is_pipe(run: Run) -> None:
    os.mkfifo(run.folder / LOG_FILE)
    with pytest.raises(UserError, match=r"worker\.log"):
        local.start(run, resume=True)


def test_run_files_and_extend_ignore_links(run: Run, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name in ("secret.png", "best.safetensors", "last.safetensors"):
        (secrets / name).write_text("secret")
    (run.folder / "images" / "own.png").write_text("own")
    (run.folder / "images" / "link.png").symlink_to(secrets / "secret.png")
    (run.folder / "images" / "deep").symlink_to(secrets)
    os.mkfifo(run.folder / "images" / "pipe.png")
    assert run.files("images/*.png") == [run.folder / "images" / "own.png"]
    assert run.files("images/deep/*.png") == run.files("../../secrets/*.png") == []
    (run.folder / "checkpoints" / "last.safetensors").write_text("own")
    (run.folder / "checkpoints" / "best.safetensors").symlink_to(secrets / "best.safetensors")
    longer = extend.extend(RunsFolder(run.folder.parent), run, 1)
    copied = sorted(path.name for path in longer.folder.rglob("*") if path.suffix in {".png", ".safetensors"})
    assert copied == ["last.safetensors", "own.png"]
    shutil.rmtree(run.folder / "images")
    (run.folder / "images").symlink_to(secrets)
    assert run.files("images/*.png") == []


def test_trash_never_deletes_through_links(run: Run, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "work").mkdir(parents=True)
    runs = RunsFolder(run.folder.parent)
    (runs.root / trash.TRASH).symlink_to(home)
    assert trash.trashed(runs) == []
    trash.empty_trash(runs)
    trash.empty_trash(runs, ["work"])
    assert (home / "work").is_dir()
    with pytest.raises(UserError, match=r"\.trash is a link"):
        trash.delete(run)
    (runs.root / trash.TRASH).unlink()
    (runs.root / trash.TRASH).mkdir()
    (runs.root / trash.TRASH / "work").symlink_to(home / "work")
    trash.empty_trash(runs)
    trash.empty_trash(runs, ["work", "../../home"])
    assert (home / "work").is_dir()


def test_heartbeat_write_does_not_follow_planted_link(run: Run, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (run.folder / f".{heartbeat.WORKER_FILE}.{os.getpid()}.tmp").symlink_to(tmp_path / "precious")
    worker = heartbeat.Worker(this_process())
    heartbeat.write(run.folder, worker)
    assert (tmp_path / "precious").read_text() == "mine"
    assert heartbeat.read(run.folder) == worker


ABSURD = ["inf", "-inf", "nan", 1e308, -1, 2**60, 2**70, -(2**70)]


@pytest.mark.parametrize("value", ABSURD)
@pytest.mark.parametrize("key", ["time", "step", "offset", "epoch"])
def test_event_reader_skips_line_with_impossible_number(run: Run, key: str, value: object) -> None:
    line = {"event": "epoch_finished", "epoch": 1, "step": 1, "loss": 0.5, key: value}
    with (run.folder / EVENTS_FILE).open("ab") as file:
        file.write(json.dumps(line).encode() + b"\n")
    reader = EventReader(run.folder)
    assert [type(event) for event in reader.read()] == [events.RunStarted, events.RunFinished]
    assert reader.unreadable == 1


@pytest.mark.parametrize("value", ABSURD)
def test_summary_with_impossible_number_is_rebuilt(run: Run, value: object) -> None:
    for key in ("started", "last", "step", "steps", "epoch", "offset"):
        content = {"format": 2, "kind": "dip", "name": "false", key: value}
        (run.folder / SUMMARY_FILE).write_text(json.dumps(content))
        assert run.status().summary.name == "boots"
