"""Export of a run as TensorBoard event files, through TensorBoard's own writer, after or during the run."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path
from typing import Any

from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event as Entry
from tensorboard.compat.proto.event_pb2 import SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from dipddpm.core import config as configs
from dipddpm.core.evaluation.boards import board_of
from dipddpm.core.events import Event, ImageSaved, Message
from dipddpm.core.export.snapshot import Record, safe_name, scalars, step_of
from dipddpm.core.io.sanitize import printable
from dipddpm.core.runs import Run

PATTERN = "events.out.tfevents.*"


def write(record: Record, folder: Path) -> None:
    """Write scalars with their original times, pictures, and the config as hyperparameters and as text."""
    with contextlib.closing(EventFiles(record.run, folder)) as files:
        files.begin(record)


class EventFiles:
    """Writer of event files; its methods raise OSError if the disk is full."""

    def __init__(self, run: Run, folder: Path) -> None:
        self.run = run
        folder.mkdir(exist_ok=True)
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        # TensorBoard reads the files in the order of their names.
        name = PATTERN.replace("*", f"{seconds:010}.{nanoseconds:09}.{socket.gethostname()}.{os.getpid()}")
        # TensorBoard's EventFileWriter writes in a thread, which prints a traceback if the disk is full.
        self._file = (folder / name).open("xb")
        self._writer = RecordWriter(self._file)
        self._add(time.time(), 0, file_version="brain.Event:2")

    def begin(self, record: Record) -> None:
        """Write the run's history so far."""
        at = record.began
        # A session start makes an open TensorBoard drop the data of earlier files.
        self._add(at, 0, session_log=SessionLog(status=SessionLog.START))
        if options := record.options():
            group = hparams_pb(options, trial_id=record.run.id, start_time_secs=at)
            self._add(at, 0, summary=Summary.FromString(group.SerializeToString()))
        if record.status.config is not None:
            self._text("config", configs.to_toml(record.status.config), at, 0)
        # A picture file that was overwritten is written once, at the step of its last version.
        last = {event.file: event for event, _ in record.pictures()}
        for event in record.history:
            if not isinstance(event, ImageSaved) or last.get(event.file) is event:
                self.add(event)
        if lines := board_of(record.history).lines():
            self._text("scores", "\n".join(lines), record.history[-1].time, step_of(record.history[-1]))

    def add(self, event: Event) -> None:
        """Write an event's scalars, picture or message."""
        step, at = step_of(event), event.time
        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars(event)]
        if values:
            self._add(at, step, summary=Summary(value=values))
        if isinstance(event, ImageSaved):
            self._picture(event)
        elif isinstance(event, Message):
            self._text("messages", event.text, at, step)

    def flush(self) -> None:
        """Hand everything written so far to readers of the file."""
        self._file.flush()

    def close(self) -> None:
        """Flush and close the file."""
        self._file.close()

    def _picture(self, event: ImageSaved) -> None:
        path = next((path for path in self.run.files("images/*.png") if path.name == Path(event.file).name), None)
        if path is None:
            return
        with Image.open(path, formats=["PNG"]) as image:
            width, height, channels = image.width, image.height, len(image.getbands())
        content = path.read_bytes()
        picture = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=content)
        value = Summary.Value(tag=f"images/{safe_name(event.name)}", image=picture)
        self._add(event.time, step_of(event), summary=Summary(value=[value]))

    def _text(self, name: str, text: str, at: float, step: int) -> None:
        """Write text indented, so that TensorBoard, which reads Markdown, shows it unchanged."""
        lines = "\n".join(f"    {printable(line)}" for line in text.strip().split("\n"))
        self._add(at, step, summary=text_pb(f"{name}/text_summary", lines))

    def _add(self, at: float, step: int, **content: Any) -> None:
        self._writer.write(Entry(wall_time=at, step=step, **content).SerializeToString())
