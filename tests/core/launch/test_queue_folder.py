"""Tests of the queue's folder: one for all logins, and no wait where it can't be used."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from pathlib import Path

import msgspec
import pytest

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.doctor import work
from dipddpm.core.errors import UserError
from dipddpm.core.launch import preflight, queue, worker
from dipddpm.core.runs import RunsFolder, RunState, heartbeat
from tests.helpers import recorded, this_process


@pytest.fixture
def default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the queue's folder of a user who sets no DIPDDPM_SLOTS_DIR; it doesn't exist yet."""
    monkeypatch.delenv("DIPDDPM_SLOTS_DIR")
    monkeypatch.setattr(queue, "FOLDER", str(tmp_path / "tmp" / "dipddpm-{uid}"))
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp" / f"dipddpm-{os.getuid()}"


def test_queue_folder_is_same_for_all_logins(default_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TMPDIR", "TMP", "TEMP", "XDG_RUNTIME_DIR", "HOME"):
        monkeypatch.setenv(name, f"/elsewhere/{name}")
    assert queue.folder() == default_folder
    assert default_folder.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("DIPDDPM_SLOTS_DIR", "")
    assert queue.folder() == default_folder


def test_queue_folder_becomes_private(default_folder: Path) -> None:
    default_folder.mkdir(mode=0o777)
    default_folder.chmod(0o777)
    assert queue.folder().stat().st_mode & 0o777 == 0o700


def test_queue_folder_is_refused_where_others_made_it(default_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default_folder.symlink_to(default_folder.parent)
    with pytest.raises(queue.QueueError, match="it is a link"):
        queue.folder()
    default_folder.unlink()
    default_folder.write_text("")
    with pytest.raises(queue.QueueError, match=r"dipddpm-\d+, can't be used: it is not a folder"):
        queue.folder()
    stranger = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: stranger)
    default_folder.with_name(f"dipddpm-{stranger}").mkdir()
    with pytest.raises(queue.QueueError, match="belongs to another user"):
        queue.folder()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("DIPDDPM_SLOTS_DIR", "slots", "relative path slots"), ("DIPDDPM_SLOTS", "0", "not a whole number")],
)
def test_bad_settings_are_refused_before_run(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    config = configs.build("dip", settings={"data.dataset": "fashion-mini"})
    with pytest.raises(UserError, match=words):
        preflight.refuse(config)
    preflight.refuse(config, elsewhere=True)  # the other machine has its own settings


@pytest.fixture(params=["ENOLCK", "ENOSYS", "EOPNOTSUPP", "EINVAL"])
def without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make all locks fail as on a file system that has none."""
    code = getattr(errno, request.param)

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.usefixtures("without_locks")
def test_queue_refuses_folder_without_locks() -> None:
    with pytest.raises(queue.QueueError, match="its file system has no file locks"):
        queue.acquire("a", ["cpu"])
    assert list(queue.folder().glob("*.ticket")) == []
    (finding,) = work.queue()
    assert "no file locks" in finding.message
    assert "DIPDDPM_SLOTS_DIR" in finding.remedy


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_queue_names_folder_that_cannot_be_written(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("dipddpm.core.io.atomic.write_atomic", fail)
    with pytest.raises(queue.QueueError) as caught:
        queue.acquire("a", ["cpu"])
    assert str(queue.folder()) in caught.value.problem
    assert os.strerror(code) in caught.value.problem


@pytest.mark.parametrize("trouble", ["a file", "no locks"])
def test_run_starts_without_queue_and_warns(trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if trouble == "a file":
        (tmp_path / "slots").write_text("")
    else:
        monkeypatch.setattr("dipddpm.core.io.locks.try_lock", lambda descriptor: None)
        monkeypatch.setattr("dipddpm.core.runs.log._lock_patiently", lambda *_: None)
    settings = {"data.dataset": "fashion-mini", "images.indices": "0-0", "dip.iterations": 2, "device": "cpu"}
    run = RunsFolder(tmp_path / "inside").create(configs.build("dip", settings=settings))
    assert worker.main([str(run.folder)]) == 0
    assert run.status().state is RunState.finished
    (warning,) = [event.text for event in recorded(run, events.Message) if event.level == "warning"]
    assert str(tmp_path / "slots") in warning
    assert "doesn't wait for other runs" in warning


def test_deleted_folder_doubles_no_run_and_loses_no_ticket(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock moves only while the queue sleeps, so that the first run's heartbeat is never late."""
    clock = time.monotonic()

    def sleep(seconds: float) -> None:
        nonlocal clock
        clock += seconds

    monkeypatch.setattr(time, "monotonic", lambda: clock)
    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(queue, "REGAIN_SECONDS", 10 * queue.POLL_SECONDS)
    holder = queue.acquire("a", ["cpu"])
    assert holder is not None
    checks = 0

    def should_give_up() -> bool:
        """Delete the folder while the second run waits; the first run's heartbeat comes a moment later."""
        nonlocal checks
        checks += 1
        if checks == 5:
            shutil.rmtree(queue.folder())
        if checks == 10:
            holder.refresh()
        return checks == 100

    assert queue.acquire("b", ["cpu"], should_give_up=should_give_up) is None
    waiting: list[str] = []

    def release_when_waiting() -> bool:
        """Delete the tickets alone, then let the first run end."""
        if not waiting and (tickets := queue.waiting()):
            waiting.append(tickets[0][1].run)
            tickets[0][0].unlink()
            holder.release()
        return False

    assert queue.acquire("c", ["cpu"], should_give_up=release_when_waiting) is not None
    assert waiting == ["c"]


def test_refresh_touches_slot_and_leaves_slot_of_other_run(monkeypatch: pytest.MonkeyPatch) -> None:
    slot = queue.acquire("a", ["cpu"])
    assert slot is not None
    (path,) = queue.folder().glob("*.slot")
    os.utime(path, (0, 0))
    slot.refresh()
    assert time.time() - path.stat().st_mtime < 100
    path.unlink()
    other = queue.acquire("b", ["cpu"])  # it can't know of the first run
    assert other is not None
    slot.refresh()
    slot.release()
    assert queue.acquire("c", ["cpu"], should_give_up=iter([False, True]).__next__) is None
    other.release()


def test_ticket_of_other_host_counts_while_it_is_touched() -> None:
    elsewhere = msgspec.structs.replace(this_process(), host="another-host")
    path = queue.folder() / "1-7-abc.ticket"
    path.write_bytes(msgspec.json.encode(queue.Ticket("foreign", ["cpu"], elsewhere)))
    assert [ticket.run for _, ticket in queue.waiting()] == ["foreign"]
    silent = time.time() - heartbeat.SILENT_SECONDS - 1
    os.utime(path, (silent, silent))
    assert queue.waiting() == []
    assert not path.exists()
