"""Fuzzing targets: each takes the bytes of an untrusted file or line, and raises an error only for a program's bug.

`UserError` is a correct refusal and is caught here; readers may raise no error at all. Accepted input must also be
readable again, drawable, and unchanged after it is written and read back.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import struct
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, get_args

import msgspec

from dipddpm.core import config as configs
from dipddpm.core import data, events
from dipddpm.core.data import published
from dipddpm.core.data.catalogue import CATALOGUE
from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.events import Event
from dipddpm.core.io import atomic
from dipddpm.core.runs import (
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    EVENTS_FILE,
    SUMMARY_FILE,
    EventReader,
    Run,
    heartbeat,
    summary,
)
from dipddpm.tui.console.model.curves import AXES
from dipddpm.tui.console.model.query import parse
from dipddpm.tui.console.model.series import RunSeries
from dipddpm.tui.shared import marks
from dipddpm.tui.shared.draft import Draft
from dipddpm.tui.shared.formatting import event_line
from dipddpm.tui.shared.runlist import RunRow, make_row

CORPUS = Path(__file__).parent / "corpus"
Target = Callable[[bytes], None]


@cache
def folder() -> Path:
    """Create a run folder, which all inputs share."""
    path = Path(tempfile.mkdtemp(prefix="fuzz-")) / "20261123-094512-ddpm-3f9a"
    path.mkdir(parents=True)
    (path / CONFIG_FILE).write_text(configs.to_toml(configs.build("ddpm")))
    return path


def remove_folder() -> None:
    """Remove the shared run folder."""
    shutil.rmtree(folder().parent)
    folder.cache_clear()


def event_lines(content: bytes) -> None:
    """Read, fold, list, format and draw the events of an events.jsonl."""
    run = Run(folder())
    (run.folder / EVENTS_FILE).write_bytes(content)
    read_events = EventReader(run.folder).read()
    assert EventReader(run.folder).read(1)[: len(read_events)] == read_events[:1] or len(content) > 1
    check_shown(run, read_events)
    for event in read_events:
        assert events.decode(events.encode(event)) is not None


def check_shown(run: Run, read_events: list[Event]) -> None:
    """Compute everything that the console and the command line show of a run, and check it."""
    assert summary.read(run.folder) == summary.rebuild(run.folder)
    row = make_row(run.status())
    assert_safe(row.name, row.method, row.kind, row.error, row.hint, row.dataset, row.device)
    series = RunSeries()
    series.feed(read_events[:1])
    series.feed(read_events[1:])
    for axis in AXES:
        series.limit(axis)
        series.best_marks(axis)
        drawn = [*series.loss(axis), *series.loss(axis, 0.6), *series.rates(axis)]
        for curve in drawn:
            assert len(curve.x) == len(curve.y)
            assert all(left <= right for left, right in zip(curve.x, curve.x[1:], strict=False))
    series.psnr()
    for step in {*series.steps()[:2], series.step}:
        series.values_at(step)
        series.x_of(step, "time")
        for name in list(series.pictures())[:3]:
            series.picture(name, step)
    for event in series.recent_events(0):
        assert_safe(event_line(event) or "")
    with contextlib.suppress(UserError):
        Scoreboard(series.restorations).headline()
    for event in run.events():
        assert_safe(event_line(event) or "")


def assert_safe(*texts: str) -> None:
    """Check that no text can move the cursor, set a title or begin a link."""
    for text in texts:
        assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u202e\u2066\u200b" for c in text), ascii(text)


def config_file(content: bytes) -> None:
    """Load a config.toml, which must raise `UserError` or give the same config after it is written and read back."""
    path = folder() / "fuzzed.toml"
    path.write_bytes(content)
    try:
        config = configs.load(path)
    except UserError as error:
        assert error.problem and error.remedy
        return
    path.write_text(configs.to_toml(config))
    assert configs.load(path) == config
    configs.experiment_path(config)
    assert config.kind and config.method
    with contextlib.suppress(UserError):  # a run of given pictures may name none
        Draft.from_config(config).command()


def stored_records(content: bytes) -> None:
    """Read the small files of a run, all with this content."""
    run = Run(folder())
    for name in (SUMMARY_FILE, heartbeat.WORKER_FILE, ENVIRONMENT_FILE, marks.NOTES_FILE):
        (run.folder / name).write_bytes(content)
    (run.folder / EVENTS_FILE).unlink(missing_ok=True)
    try:
        status = run.status()
        notes = marks.read(run.folder)
        row = make_row(status, notes)
        assert_safe(row.name, row.method, row.kind, row.error, row.note.replace("\n", ""), *row.tags)
        assert status.stalled in {True, False}
    finally:
        for name in (SUMMARY_FILE, heartbeat.WORKER_FILE, ENVIRONMENT_FILE, marks.NOTES_FILE):
            (run.folder / name).unlink()


def checkpoint_file(content: bytes) -> None:
    """Load the content as a checkpoint, and as the header of checkpoints whose tensors are zeros."""
    from dipddpm.core.compute import checkpoint

    path = folder() / "fuzzed.safetensors"
    bodies = [content]
    if content.startswith(b"{"):
        bodies = [struct.pack("<Q", len(content)) + content + bytes(size) for size in (0, 64)]
        bodies.append(_checkpoint(content))
    for body in bodies:
        path.write_bytes(body)
        for load in (checkpoint.load, checkpoint.load_state):
            with contextlib.suppress(UserError):
                load(path)


def _checkpoint(header: bytes) -> bytes:
    """Return a checkpoint with one tensor and this header."""
    tensors = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    ours = header.decode("utf-8", "replace")
    text = json.dumps({"__metadata__": {"dipddpm": ours}, **tensors}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(8)


ROWS = [
    RunRow(id="a"),
    RunRow(id="b\x1b", kind="dip", name="[b]x", loss=0.1, psnr=float("nan"), progress=0.5, step=3, tags=("x", "y")),
    RunRow(id="c", kind="hybrid", loss=float("inf"), psnr=-1e308, age=1e300, started=1.0, eta=float("nan"), note="n"),
]


def filter_query(content: bytes) -> None:
    """Parse a filter query, which never raises; an invalid query must match every run."""
    text = content.decode("utf-8", "replace")
    query = parse(text)
    assert_safe(query.problem)
    matches = [query.matches(row) for row in ROWS]
    assert all(matches) or not query.problem


def task_spec(content: bytes) -> None:
    """Parse a task such as `inpaint:missing=0.7`, which must raise `UserError` or give finite measurements."""
    import torch

    from dipddpm.core.degrade import degrade

    try:
        task = configs.parse_task(content.decode("utf-8", "replace"))
    except UserError:
        return
    if "," not in getattr(task, "mask", ""):
        assert configs.parse_task(configs.format_task(task)) == _without_unused_options(task)
    with contextlib.suppress(UserError):
        y, degradation = degrade(task, torch.full((2, 1, 6, 5), 0.5), [1, 2])
        assert y.isfinite().all(), configs.format_task(task)
        assert degradation.operator.pinv(y).isfinite().all()


def _without_unused_options(task: Any) -> Any:
    """Return the task with its unused options, which `format_task` leaves out, at their defaults."""
    default = type(task)()
    return msgspec.structs.replace(task, **{name: getattr(default, name) for name in task.unused_options()})


def image_file(content: bytes) -> None:
    """Load an image file as experiments do, and draw it as the console does."""
    from dipddpm.core.images import load_image
    from dipddpm.tui.console.widgets.pictures import characters, load

    path = folder() / "fuzzed.png"
    path.write_bytes(content)
    with contextlib.suppress(UserError):
        image = load_image(path)
        assert image.ndim == 4 and image.shape[1] in {1, 3} and 0 <= image.min() <= image.max() <= 1
    with contextlib.suppress(UserError):
        picture = load(path)
        if picture.width * picture.height <= 1 << 16:
            characters(picture, 40, 10, "standard")


def idx_file(content: bytes) -> None:
    """Load a data set whose files have this content, which must be refused."""
    for dataset in list(CATALOGUE.values())[:2]:
        for file in dataset.files[:2]:
            with contextlib.suppress(published.NotPublishedError):
                published.unpack(content, file, dataset)
    data_folder = folder() / "fuzzed-data" / "fashionmnist"
    data_folder.mkdir(parents=True, exist_ok=True)
    for file in CATALOGUE["fashionmnist"].files:
        (data_folder / file.name).write_bytes(content)
    with contextlib.suppress(UserError):
        data.load("fashionmnist", root=data_folder.parent)
        raise AssertionError("the content was accepted as the published images")


TARGETS: dict[str, Target] = {
    "events": event_lines,
    "config": config_file,
    "records": stored_records,
    "checkpoint": checkpoint_file,
    "query": filter_query,
    "task": task_spec,
    "image": image_file,
    "idx": idx_file,
}


def seeds(target: str) -> list[bytes]:
    """Return initial inputs, which are valid, so that the fuzzers reach the code behind the first check."""
    makers: dict[str, Callable[[], list[bytes]]] = {
        "events": lambda: [events.encode(event) for event in valid_events()],
        "config": lambda: [
            configs.to_toml(configs.build(kind, preset=preset)).encode()
            for kind, presets in configs.PRESETS.items()
            for preset in presets
        ],
        "records": _records,
        "checkpoint": _headers,
        "query": lambda: [b"kind:hybrid loss<0.04 -state:crashed | tag:keep", b"age<2d not (psnr>=25 or done:50%)"],
        "task": lambda: (
            [configs.format_task(task()).encode() for task in configs.TASKS.values()]
            + [b"inpaint:box=3,noise=poisson,photons=9", b"deblur:kernel=motion,width=3,angle=40,sigma=2,blind=true"]
        ),
        "image": _images,
        "idx": lambda: [b"\x00\x00\x08\x01\x00\x00\x00\x02ab", b"\x1f\x8b\x08\x00"],
    }
    return [*makers[target](), *(path.read_bytes() for path in sorted((CORPUS / target).glob("*")))]


def valid_events() -> list[Event]:
    """Return one event of every kind, with a value for every field."""
    values = {str: "a", events.Count: 1, events.Timestamp: 1e9, int: 1, float: 0.5, bool: True}

    def value(kind: Any) -> Any:
        inner = [arg for arg in get_args(kind) if arg is not type(None)]
        if getattr(kind, "__origin__", None) is list:
            return [value(inner[0])] * 2
        if getattr(kind, "__origin__", None) is dict:
            return {value(inner[0]): value(inner[1])}
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return whole(kind)
        return values[kind] if kind in values else value(inner[0])

    def whole(kind: type[Any]) -> Any:
        return kind(**{field.name: value(field.type) for field in msgspec.structs.fields(kind)})

    return [whole(kind) for kind in events.EVENT_TYPES]


def _records() -> list[bytes]:
    run_summary = summary.Summary(
        kind="dip", phase=summary.RunState.running, started=1e9, steps=10, step=3, stops={1: 20.0}
    )
    worker = heartbeat.Worker(
        heartbeat.ProcessIdentity("elsewhere", "boot", 1, 2), alive=1e9, progressed=1e9, device="cpu"
    )
    note = msgspec.toml.encode(marks.RunNotes(("keep",), "a note"))
    return [
        msgspec.json.encode(run_summary),
        msgspec.json.encode(worker),
        note,
        b'{"packages":{"torch":"2"},"host":"a"}',
    ]


def _headers() -> list[bytes]:
    from dipddpm.core.compute import checkpoint
    from dipddpm.core.dip.networks import DecoderNetwork

    path = folder() / "seed.safetensors"
    state = {"step": 1, "optimizer": {"state": {0: {"a": 1.5}}, "list": [None, True]}}
    checkpoint.save(path, state, DecoderNetwork(2, 1, 1, [4, 4], channels=2))
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    return [content, content[8 : 8 + size], header["__metadata__"]["dipddpm"].encode()]


def _images() -> list[bytes]:
    from io import BytesIO

    from PIL import Image

    contents = []
    for form in atomic.IMAGE_FORMATS:
        for mode in ("L", "RGB"):
            stream = BytesIO()
            Image.new(mode, (5, 4), 99).save(stream, form)
            contents.append(stream.getvalue())
    for mode in ("P", "RGBA", "I;16", "1"):
        stream = BytesIO()
        Image.new(mode, (5, 4)).save(stream, "PNG")
        contents.append(stream.getvalue())
    return contents


def words(target: str) -> set[str]:
    """Return words for the fuzzer's dictionary: names of fields, kinds and options."""
    if target in {"events", "records"}:
        kinds = (
            events.EVENT_TYPES
            if target == "events"
            else (summary.Summary, heartbeat.Worker, heartbeat.ProcessIdentity, marks.RunNotes)
        )
        named = {f'"{name}":' for kind in kinds for name in kind.__struct_fields__}
        tags = {f'"event":"{kind.__struct_config__.tag}"' for kind in kinds if kind.__struct_config__.tag}
        return named | tags | {'"inf"', '"nan"', "1e308", "-1", "null", "[]", "true", '"running"', "\n"}
    if target == "config":
        keys = {field.key for kind in configs.KINDS for field in configs.describe(kind)}
        return {part for key in keys for part in key.split(".")} | {"inf", "nan", "1e400", "[", "]", "\n", '"""', "{"}
    if target == "checkpoint":
        return {"__tensor__", "__integer_keys__", '"F32"', '"F8_E4M3"', '"BF16"', '"network"', '"values"', "decoder"}
    if target == "query":
        return {"kind:", "loss<", "age>=", "done=", "not ", " or ", "|", "(", ")", '"', "-", "none", "1e999", "2d", "%"}
    if target == "task":
        options = {name for task in configs.TASKS.values() for name in task.__struct_fields__}
        return (
            {f"{name}=" for name in options} | {f"{name}:" for name in configs.TASKS} | {"1e-320", "1e308", "poisson"}
        )
    return {"IHDR", "IDAT", "zTXt", "iCCP", "eXIf", "tRNS", "PLTE", "acTL", "\x89PNG", "GIF89a", "II*", "RIFF", "WEBP"}
