"""The writer and the readers of the log in `test_readers`, each run as a separate process."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path

from textual.message import Message

from dipddpm.core import events
from dipddpm.core.events import Event
from dipddpm.core.runs import EventLog
from dipddpm.tui.console.reader import EventsRead, Reader

RATE = 1000
PER_EPOCH = 100


def event(number: int, writer: int) -> Event:
    """Return the event of a step, whose content depends on the step and the number of the writer."""
    if number % PER_EPOCH == 0:
        return events.EpochFinished(epoch=number // PER_EPOCH, step=number, loss=1 / number + writer)
    if number % PER_EPOCH == 1:
        return events.Message(text=f"{number} " + "x" * (number * 37 % 5000), level="info")
    return events.Step(step=number, epoch=number // PER_EPOCH + 1, loss=1 / number + writer, lr=0.001 * writer)


def write(folder: Path, start: int, stop: int, writer: int, torn: bool) -> None:
    """Write the events of these steps at `RATE`, print the rate reached in events per second, and end the run.

    With `torn`, kill this process in the middle of a line instead of ending the run.
    """
    log = EventLog(folder, patience=10.0)
    if start == 1:
        log.append(
            events.RunStarted(kind="ddpm", method="tutorial", device="cpu", steps=stop, epochs=stop // PER_EPOCH)
        )
    else:
        size = int((folder / "checkpointed").read_text())
        log.append(events.RunResumed(from_step=start - 1, from_epoch=(start - 1) // PER_EPOCH, from_offset=size))
    began = time.perf_counter()
    for number in range(start, stop + 1):
        if (ahead := began + (number - start) / RATE - time.perf_counter()) > 0:
            time.sleep(ahead)
        log.append(event(number, writer))
        if number == stop - stop // 5:
            (folder / "checkpointed").write_text(str(log.size))
    print((stop - start + 1) / (time.perf_counter() - began), flush=True)
    if torn:
        line = events.encode(event(stop + 1, writer))
        os.write(log._descriptor, line[: len(line) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    log.append(events.RunFinished(seconds=time.perf_counter() - began, step=stop))


def follow(folder: Path) -> None:
    """Read as the console does until the run has finished, and print each event as a JSON line, in order."""
    done = threading.Event()
    offset = 0

    def receive(message: Message) -> None:
        if isinstance(message, EventsRead):
            nonlocal offset
            assert message.start == offset
            offset = message.end
            for read in message.events:
                sys.stdout.write(events.encode(read).decode())
            if any(isinstance(read, events.RunFinished) for read in message.events):
                done.set()

    reader = Reader(folder.parent, rate=4.0)
    reader.post_to(receive)
    reader.watch([folder.name])
    reader.start()
    done.wait(600.0)
    reader.stop()
    reader.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=["write", "follow"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("numbers", type=int, nargs="*")
    given = parser.parse_args()
    if given.part == "follow":
        follow(given.folder)
    else:
        start, stop, writer, torn = given.numbers
        write(given.folder, start, stop, writer, torn=bool(torn))
