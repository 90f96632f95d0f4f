from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.message import Message

from dipddpm.core import events
from dipddpm.core.runs import EventLog
from dipddpm.tui.console.reader import (
    CHUNK_BYTES,
    TAIL_BYTES,
    EventsRead,
    OutputRead,
    Reader,
    ReaderFailed,
    RunsScanned,
    TextTail,
)
from tests.tui.driving import Maker


@pytest.fixture
def heard() -> list[Message]:
    return []


@pytest.fixture
def follower(make: Maker, heard: list[Message]) -> Any:
    follower = Reader(make.root, 50.0)
    follower.post_to(heard.append)
    yield follower
    follower.stop()
    if follower.is_alive():
        follower.join()


def read(heard: list[Message], run: str) -> list[EventsRead]:
    return [message for message in heard if isinstance(message, EventsRead) and message.run == run]


def test_reader_sends_long_log_in_pieces_until_caught_up(
    follower: Reader, heard: list[Message], make: Maker, until: Callable[..., Any]
) -> None:
    run = make(losses=[0.1])
    log = EventLog(run.folder)
    while log.size < 20 * CHUNK_BYTES:
        log.append(events.Message(text="x" * 5000))
    log.close()
    follower.watch([run.id])
    follower.start()
    until(lambda: any(message.caught_up for message in read(heard, run.id)))
    pieces = read(heard, run.id)
    assert len(pieces) >= 3
    assert [message.caught_up for message in pieces[:2]] == [False, False]
    assert sum(len(message.events) for message in pieces) == len(run.events())


def test_reader_continues_log_that_is_watched_again(
    follower: Reader, heard: list[Message], make: Maker, until: Callable[..., Any]
) -> None:
    run, other = make(losses=[0.1]), make(losses=[0.2])
    follower.watch([run.id])
    follower.start()
    until(lambda: read(heard, run.id))
    follower.watch([other.id])
    until(lambda: read(heard, other.id))
    log = EventLog(run.folder)
    log.append(events.Message(text="meanwhile"))
    log.close()
    follower.watch([run.id])
    until(lambda: len(read(heard, run.id)) == 2)
    assert [type(event) for event in read(heard, run.id)[1].events] == [events.Message]


def test_reader_sends_no_scan_while_unchanged(
    follower: Reader, heard: list[Message], make: Maker, until: Callable[..., Any]
) -> None:
    make()
    follower.start()
    until(lambda: any(isinstance(message, RunsScanned) for message in heard))
    follower.wake()
    follower.wake()
    assert len([message for message in heard if isinstance(message, RunsScanned)]) == 1


def test_reader_hands_over_fatal_error(
    follower: Reader, heard: list[Message], monkeypatch: pytest.MonkeyPatch, until: Callable[..., Any]
) -> None:
    monkeypatch.setattr(Reader, "_scan", lambda self: 1 / 0)
    follower.start()
    until(lambda: [message for message in heard if isinstance(message, ReaderFailed)])


def test_reader_retries_after_disk_errors(
    follower: Reader, heard: list[Message], make: Maker, monkeypatch: pytest.MonkeyPatch, until: Callable[..., Any]
) -> None:
    make()
    scan = Reader._scan
    failures = iter([OSError(5, "Input/output error"), OSError(116, "Stale file handle")])

    def flaky(self: Reader) -> None:
        if (failure := next(failures, None)) is not None:
            raise failure
        scan(self)

    monkeypatch.setattr(Reader, "_scan", flaky)
    follower.start()
    until(lambda: any(isinstance(message, RunsScanned) for message in heard))


def test_reader_sends_worker_output(
    follower: Reader, heard: list[Message], make: Maker, until: Callable[..., Any]
) -> None:
    run = make()
    (run.folder / "worker.log").write_text("old\n")
    follower.watch_output(run.id)
    follower.start()
    until(lambda: [message for message in heard if isinstance(message, OutputRead) and list(message.lines) == ["old"]])


def test_text_tail_reads_whole_lines_from_end(tmp_path: Path) -> None:
    file = tmp_path / "log"
    tail = TextTail(file)
    assert tail.read() == ([], False)
    file.write_bytes(b"x" * (2 * TAIL_BYTES) + b"\nlast\nhal")
    lines, restarted = tail.read()
    assert (lines[-1], restarted) == ("last", True)
    with file.open("ab") as more:
        more.write(b"f\n")
    assert tail.read() == (["half"], False)
    file.write_bytes(b"new\n")
    assert tail.read() == (["new"], True)


def test_text_tail_cleans_escapes_and_progress_bars(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b" 10%\r 50%\r100%\n\x1b[31mred\xff\n")
    assert TextTail(file).read() == (["100%", "\\x1b[31mred\ufffd"], True)
