"""Tests of events.jsonl: readers get every complete line, whatever is cut off, replaced or inserted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core import events
from dipddpm.core.errors import UserError
from dipddpm.core.events import EpochFinished, Event, Message, RunResumed, RunStopped, Step
from dipddpm.core.runs import EVENTS_FILE, EventLog, EventReader, history
from dipddpm.core.runs.log import MAX_LINE
from tests.helpers import record_calls


def texts(events_read: list[Event]) -> list[str]:
    return [event.text for event in events_read if isinstance(event, Message)]


def line(text: str) -> bytes:
    return events.encode(Message(text=text, time=1.5))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / EVENTS_FILE


def test_event_reader_reads_appended_events(tmp_path: Path) -> None:
    log, reader = EventLog(tmp_path), EventReader(tmp_path)
    assert reader.read() == []
    for n in range(3):
        written = log.append(Message(text=str(n)))
        assert reader.read() == [written]
    log.close()
    log.close()
    assert reader.read() == []
    assert texts(EventReader(tmp_path).read()) == ["0", "1", "2"]


def test_event_log_append_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(tmp_path)
    calls = record_calls(monkeypatch, os, "write")
    for n in range(5):
        log.append(Message(text="x" * 10_000 * n))
    monkeypatch.undo()
    log.close()
    writes = [bytes(data) for _, data in calls]
    assert [json.loads(written)["event"] for written in writes] == ["message"] * 5
    assert b"".join(writes) == (tmp_path / EVENTS_FILE).read_bytes()


def test_event_log_append_stamps_and_copies_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(tmp_path)
    copies = record_calls(monkeypatch, msgspec.structs, "replace")
    stamps = record_calls(monkeypatch, time, "time")
    written = log.append(Message(text="first")), log.append(Message(text="second"))
    monkeypatch.undo()
    log.close()
    assert [type(event) for (event,) in copies] == [Message] * 2
    assert len(stamps) == 2
    assert tuple(EventReader(tmp_path).read()) == written
    assert written[1].offset == len((tmp_path / EVENTS_FILE).read_bytes().splitlines(keepends=True)[0])


def test_event_log_append_syncs_checkpoints_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(tmp_path)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    log.append(Step(step=1))
    assert synced == []
    log.append(events.CheckpointStored(step=1, file="f", sha256="0"))
    log.append(RunStopped(reason="asked"))
    assert len(synced) == 2
    log.close()


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=8), max_size=5), st.data())
def test_event_reader_reads_only_complete_lines_at_every_cut(
    tmp_path_factory: pytest.TempPathFactory, messages: list[str], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("log")
    content = b"".join(map(line, messages))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(content)), max_size=8)) | {len(content)})
    reader = EventReader(folder)
    read: list[str] = []
    at = 0
    for cut in cuts:
        with (folder / EVENTS_FILE).open("ab") as file:
            file.write(content[at:cut])
        at = cut
        read += texts(reader.read())
        assert read == messages[: content[:cut].count(b"\n")]
    assert reader.unreadable == 0


def test_event_reader_survives_any_single_cut(tmp_path: Path, file: Path) -> None:
    content = line("one") + line("zwei é") + line("three")
    for cut in range(len(content) + 1):
        file.write_bytes(content[:cut])
        reader = EventReader(tmp_path)
        first = texts(reader.read())
        with file.open("ab") as appended:
            appended.write(content[cut:])
        assert first + texts(reader.read()) == ["one", "zwei é", "three"]


def test_event_log_separates_torn_line_from_next(tmp_path: Path, file: Path) -> None:
    file.write_bytes(line("whole") + line("torn")[:-5])
    log = EventLog(tmp_path)
    log.append(Message(text="after"))
    log.close()
    reader = EventReader(tmp_path)
    assert texts(reader.read()) == ["whole", "after"]
    assert reader.unreadable == 1


FULL = """
import errno, resource, signal, sys
from pathlib import Path
from dipddpm.core.events import Message, RunFailed
from dipddpm.core.runs import EventLog
log = EventLog(Path(sys.argv[1]))
log.append(Message(text="before"))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (log.size + 50, resource.RLIM_INFINITY))
try:
    log.append(Message(text="x" * 500))
except OSError as error:
    assert error.errno == errno.EFBIG, error
else:
    raise SystemExit("append raised no error after a short write")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.append(RunFailed(error="full", hint="free"))
"""


def test_event_log_names_cause_of_short_write_and_still_logs_failure(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], check=True)
    reader = EventReader(tmp_path)
    assert [type(event).__name__ for event in reader.read()] == ["Message", "RunFailed"]
    assert reader.unreadable == 1


def test_event_log_refuses_second_writer(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys;from pathlib import Path;from dipddpm.core.runs import EventLog;"
         "log=EventLog(Path(sys.argv[1]));print('held',flush=True);sys.stdin.read()", str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(UserError, match="Another process works on"):
        EventLog(tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    EventLog(tmp_path).close()


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60).filter(lambda noise: b"\n" not in noise),
            st.sampled_from([b"\x00" * 4096, b"{}", b"[[[[", b'{"event":"of_tomorrow"}', b"\xff\xfe", b"\r", b""]),
            st.integers(0, 9).map(lambda n: line(str(n))[:-1]),
        ),
        max_size=12,
    )
)
def test_event_reader_skips_garbage_between_lines(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    folder = tmp_path_factory.mktemp("log")
    (folder / EVENTS_FILE).write_bytes(b"".join(each + b"\n" for each in lines))
    expected = []
    for each in lines:
        try:
            expected.append(json.loads(each)["text"])
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
    assert texts(EventReader(folder).read()) == expected


@pytest.mark.parametrize("extra", [0, 1, MAX_LINE, 3 * MAX_LINE + 7])
def test_event_reader_skips_huge_line(extra: int, tmp_path: Path, file: Path) -> None:
    file.write_bytes(line("before") + b"x" * (MAX_LINE + extra))
    reader = EventReader(tmp_path)
    assert texts(reader.read()) == ["before"]
    with file.open("ab") as more:
        more.write(b"y" * 10 + b"\n" + line("after"))
    assert texts(reader.read()) == ["after"]
    assert texts(reader.read()) == []


def test_event_reader_joins_lines_across_blocks(tmp_path: Path, file: Path) -> None:
    messages = [str(n) * 300 for n in range(6000)]
    file.write_bytes(b"".join(map(line, messages)))
    assert file.stat().st_size > 3 * MAX_LINE
    assert texts(EventReader(tmp_path).read()) == messages
    reader, read = EventReader(tmp_path), []
    while block := texts(reader.read(limit=1)):
        read += block
    assert read == messages


def test_event_reader_restarts_when_file_shrinks(tmp_path: Path, file: Path) -> None:
    file.write_bytes(line("old") * 3)
    reader = EventReader(tmp_path)
    reader.read()
    file.write_bytes(line("new"))
    assert texts(reader.read()) == ["new"]
    assert reader.restarted
    assert texts(reader.read()) == []
    assert not reader.restarted


def test_event_reader_restarts_when_file_is_replaced(tmp_path: Path, file: Path) -> None:
    file.write_bytes(line("old"))
    reader = EventReader(tmp_path)
    reader.read()
    (tmp_path / "other").write_bytes(line("new") * 2)
    (tmp_path / "other").replace(file)
    assert texts(reader.read()) == ["new", "new"]
    assert reader.restarted


def test_event_reader_restarts_when_file_is_rewritten_longer(tmp_path: Path, file: Path) -> None:
    file.write_bytes(line("old"))
    reader = EventReader(tmp_path)
    reader.read()
    file.write_bytes(line("new") * 3)
    assert texts(reader.read()) == ["new"] * 3
    assert reader.restarted
    assert texts(reader.read()) == []
    assert not reader.restarted


def test_event_reader_gives_nothing_for_missing_or_irregular_file(tmp_path: Path, file: Path) -> None:
    reader = EventReader(tmp_path)
    assert reader.read() == []
    file.write_bytes(line("here"))
    reader.read()
    file.unlink()
    assert reader.read() == []
    makers: list[Callable[[], object]] = [
        file.mkdir,
        lambda: os.mkfifo(file),
        lambda: file.symlink_to(file),
        lambda: file.symlink_to("/dev/zero"),
    ]
    for make in makers:
        make()
        assert EventReader(tmp_path).read() == []
        file.rmdir() if file.is_dir() else file.unlink()


def test_event_readers_read_every_line_once_during_writing(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    read: list[list[str]] = [[] for _ in range(8)]
    done = threading.Event()

    def follow(mine: list[str]) -> None:
        reader = EventReader(tmp_path)
        while not done.is_set():
            mine += texts(reader.read())
        mine += texts(reader.read())

    threads = [threading.Thread(target=follow, args=[mine]) for mine in read]
    for thread in threads:
        thread.start()
    for n in range(1000):
        log.append(Message(text=str(n)))
    done.set()
    for thread in threads:
        thread.join()
    log.close()
    assert all(mine == [str(n) for n in range(1000)] for mine in read)


def naive_history(recorded: list[Event]) -> list[Event]:
    """Return the logical history by its definition: a later resume voids ends, and work at or beyond its offset."""
    logical: list[Event] = []
    for index, event in enumerate(recorded):
        resumes = [later for later in recorded[index + 1 :] if isinstance(later, RunResumed)]
        void_offsets = [r.from_offset for r in resumes if r.from_offset is not None]
        is_work = not isinstance(event, events.RunQueued | events.RunStarted | RunResumed)
        is_repeated = is_work and any(event.offset >= offset for offset in void_offsets)
        if not is_repeated and not (resumes and isinstance(event, events.ENDS)):
            logical.append(event)
    return logical


positions = {"step": st.integers(0, 5), "offset": st.integers(0, 5)}


@given(
    st.lists(
        st.one_of(
            st.builds(Step, **positions),
            st.builds(EpochFinished, epoch=st.integers(1, 3), loss=st.just(1.0), **positions),
            st.builds(Message, text=st.just("hi"), offset=positions["offset"]),
            st.builds(events.RunQueued, device=st.just("cpu"), offset=positions["offset"]),
            st.builds(RunStopped, reason=st.just("asked"), **positions),
            st.builds(RunResumed, from_step=st.integers(0, 5), from_offset=st.none() | st.integers(0, 5)),
        ),
        max_size=30,
    )
)
def test_history_matches_naive_definition(recorded: list[Event]) -> None:
    assert history(recorded) == naive_history(recorded)


def test_event_reader_stream_equals_read(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    for n in range(12_000):
        log.append(Message(text=f"{n} " + "x" * 200))
    log.append(RunResumed(from_step=3))
    log.close()
    assert (tmp_path / EVENTS_FILE).stat().st_size > MAX_LINE, "the log must exceed one block"
    reader = EventReader(tmp_path)
    assert list(reader.stream()) == EventReader(tmp_path).read()
    assert reader.offset == (tmp_path / EVENTS_FILE).stat().st_size
    assert [type(event) for event in EventReader(tmp_path, containing=b'"run_resumed"').stream()] == [RunResumed]


def test_event_log_offset_points_at_its_line(tmp_path: Path, file: Path) -> None:
    file.write_bytes(b"torn")
    log = EventLog(tmp_path)
    for n in range(3):
        log.append(Message(text="é" * n))
    log.close()
    content = file.read_bytes()
    for event in EventReader(tmp_path).read():
        assert content[event.offset - 1 :].startswith(b'\n{"event":"message"')
        assert isinstance(event, Message)
        assert events.decode(content[event.offset :].partition(b"\n")[0]) == event


def test_history_drops_events_after_checkpoint_of_resume() -> None:
    queued, started = events.RunQueued(device="cpu", offset=0), events.RunStarted(kind="d", method="m", device="c")
    before = Step(step=10, offset=100)
    end = EpochFinished(epoch=1, step=10, loss=0.5, offset=200)
    remark = Message(text="a remark", offset=250)
    resumed = RunResumed(from_step=10, from_offset=150, offset=300)
    again = [msgspec.structs.replace(event, offset=event.offset + 300) for event in (end, remark)]
    assert history([queued, started, before, end, remark, resumed, *again]) == [
        queued,
        started,
        before,
        resumed,
        *again,
    ]
    from_the_start = RunResumed(from_step=0, from_offset=0, offset=700)
    assert history([queued, started, before, resumed, from_the_start]) == [queued, started, resumed, from_the_start]


def test_history_holds_each_epoch_once_after_resume(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    checkpoint_offset = 0
    for n in (1, 2, 3):
        log.append(EpochFinished(epoch=n, step=10 * n, loss=1 / n))
        checkpoint_offset = log.size if n == 1 else checkpoint_offset
    log.append(RunResumed(from_step=15, from_offset=checkpoint_offset))
    for n in (2, 3, 4):
        log.append(EpochFinished(epoch=n, step=10 * n, loss=1 / n))
    log.close()
    logical = history(EventReader(tmp_path).read())
    assert [event.epoch for event in logical if isinstance(event, EpochFinished)] == [1, 2, 3, 4]
