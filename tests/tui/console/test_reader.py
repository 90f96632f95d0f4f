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
from tests.tui.driving import Maker, ObservedReader


@pytest.fixture
def messages() -> list[Message]:
    return []


@pytest.fixture
def reader(make: Maker, messages: list[Message]) -> Any:
    reader = ObservedReader(make.root, 50.0)
    reader.post_to(messages.append)
    yield reader
    reader.stop()
    if reader.is_alive():
        reader.join()


def read(messages: list[Message], run: str) -> list[EventsRead]:
    return [message for message in messages if isinstance(message, EventsRead) and message.run == run]


def test_reader_sends_long_log_in_chunks_until_caught_up(
    reader: Reader, messages: list[Message], make: Maker, until: Callable[..., Any]
) -> None:
    run = make(losses=[0.1])
    log = EventLog(run.folder)
    while log.size < 20 * CHUNK_BYTES:
        log.append(events.Message(text="x" * 5000))
    log.close()
    reader.watch([run.id])
    reader.start()
    until(lambda: any(message.caught_up for message in read(messages, run.id)))
    chunks = read(messages, run.id)
    assert len(chunks) >= 3
    assert [message.caught_up for message in chunks[:2]] == [False, False]
    assert sum(len(message.events) for message in chunks) == len(run.events())


def test_reader_continues_log_that_is_watched_again(
    reader: Reader, messages: list[Message], make: Maker, until: Callable[..., Any]
) -> None:
    run, other = make(losses=[0.1]), make(losses=[0.2])
    reader.watch([run.id])
    reader.start()
    until(lambda: read(messages, run.id))
    reader.watch([other.id])
    until(lambda: read(messages, other.id))
    log = EventLog(run.folder)
    log.append(events.Message(text="meanwhile"))
    log.close()
    reader.watch([run.id])
    until(lambda: len(read(messages, run.id)) == 2)
    assert [type(event) for event in read(messages, run.id)[1].events] == [events.Message]


def test_reader_sends_no_scan_while_unchanged(
    reader: ObservedReader, messages: list[Message], make: Maker, until: Callable[..., Any]
) -> None:
    make()
    reader.start()
    until(lambda: any(isinstance(message, RunsScanned) for message in messages))
    for _ in range(2):
        until(reader.request_poll().is_set)
    assert len([message for message in messages if isinstance(message, RunsScanned)]) == 1


def test_reader_posts_fatal_error(
    reader: Reader, messages: list[Message], monkeypatch: pytest.MonkeyPatch, until: Callable[..., Any]
) -> None:
    monkeypatch.setattr(Reader, "_scan", lambda self: 1 / 0)
    reader.start()
    until(lambda: [message for message in messages if isinstance(message, ReaderFailed)])


def test_reader_retries_after_disk_errors(
    reader: Reader, messages: list[Message], make: Maker, monkeypatch: pytest.MonkeyPatch, until: Callable[..., Any]
) -> None:
    make()
    scan = Reader._scan
    failures = iter([OSError(5, "Input/output error"), OSError(116, "Stale file handle")])

    def flaky(self: Reader) -> None:
        if (failure := next(failures, None)) is not None:
            raise failure
        scan(self)

    monkeypatch.setattr(Reader, "_scan", flaky)
    reader.start()
    until(lambda: any(isinstance(message, RunsScanned) for message in messages))


def test_reader_sends_worker_output(
    reader: Reader, messages: list[Message], make: Maker, until: Callable[..., Any]
) -> None:
    run = make()
    (run.folder / "worker.log").write_text("old\n")
    reader.watch_output(run.id)
    reader.start()
    until(
        lambda: [message for message in messages if isinstance(message, OutputRead) and list(message.lines) == ["old"]]
    )


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
