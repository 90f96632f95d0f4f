"""The records of a measurement: figures, notes, and the state of each part; read, written and shown as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from dipddpm.core.io import atomic

State: TypeAlias = Literal["done", "partly done", "cut", "failed"]
NoteKind: TypeAlias = Literal["note", "waiting", "unfinished", "table"]
MACHINE = ("card", "driver", "torch", "python", "program")
"""The keys of a machine's facts."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured number."""

    name: str
    value: float
    unit: str
    precision: str = ""
    note: str = ""


@dataclass(frozen=True)
class Note:
    """A sentence about a part, or a table of it.

    `waiting` names what is left out because the program or the machine lacks something; `unfinished` says that a part
    has more to do, and how much it has done.
    """

    text: str
    kind: NoteKind = "note"


@dataclass(kw_only=True)
class PartResult:
    """The results of one part on one machine."""

    name: str
    title: str
    goal: str
    state: State
    seconds: float = 0.0
    limit: float = 0.0
    machine: dict[str, str] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    tail: str = ""
    """The last lines of a part that failed or was cut."""

    def add(self, line: str) -> None:
        """Add what a line of `encode` or `encode_machine` holds; ignore a line that was cut."""
        try:
            record = json.loads(line)
        except ValueError:
            return
        match record.pop("type", ""):
            case "figure":
                self.figures.append(Figure(**record))
            case "note":
                self.notes.append(Note(**record))
            case "machine":
                self.machine = record


def encode(record: Figure | Note) -> str:
    """Return a record as one line of JSON."""
    return json.dumps({"type": "figure" if isinstance(record, Figure) else "note", **asdict(record)})


def encode_machine(facts: Mapping[str, str]) -> str:
    """Return a machine's facts as one line of JSON."""
    return json.dumps({"type": "machine", **facts})


def load(path: Path, *, miniature: bool) -> dict[str, PartResult]:
    """Return the results in a file by part; nothing if there is no such file.

    Raises ValueError for a file without measurements, and for those of a miniature where the others are wanted.
    """
    if not path.is_file():
        return {}
    try:
        stored = json.loads(atomic.read(path, limit=1 << 24))
        results = {part["name"]: _part(part) for part in stored["parts"]}
        small = bool(stored["miniature"])
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path} holds no measurements; choose another folder") from None
    if small != miniature:
        which = "a miniature" if small else "another size than a miniature"
        raise ValueError(f"{path} holds measurements of {which}; choose another folder")
    return results


def save(folder: Path, parts: Iterable[PartResult], *, miniature: bool) -> None:
    """Write results.json and results.md atomically. Each figure in the JSON has its machine's facts."""
    parts = list(parts)
    stored = [{**asdict(part), "figures": [{**asdict(f), **part.machine} for f in part.figures]} for part in parts]
    content = json.dumps({"miniature": miniature, "parts": stored}, indent=1, ensure_ascii=False)
    atomic.write_atomic(folder / "results.json", content.encode())
    atomic.write_atomic(folder / "results.md", markdown(parts, miniature=miniature).encode())


def markdown(parts: Iterable[PartResult], *, miniature: bool = False) -> str:
    """Return the results as a page: a summary of the parts, what waits, and a section for each part."""
    parts = list(parts)
    sizes = ["A miniature: every part at tiny sizes, to check that it works.", ""] if miniature else []
    lines = ["# Measurements for a GPU", "", *sizes, "| part | goal | state | seconds |", "|---|---|---|---|"]
    lines += [f"| {_cell(p.title)} | {_cell(p.goal)} | {p.state} | {p.seconds:.0f} |" for p in parts]
    waiting = [(part, note) for part in parts for note in part.notes if note.kind in {"waiting", "unfinished"}]
    if waiting:
        lines += ["", "## Not measured, or not wholly", ""]
        lines += [f"- {part.title}: {_line(note.text)}" for part, note in waiting]
    for part in parts:
        lines += ["", f"## {part.title}", "", f"{part.state}, {part.seconds:.0f} s of at most {part.limit:.0f} s."]
        lines += [f"Goal: {part.goal}."] if part.goal else []
        lines += _figures(part)
        for note in part.notes:
            lines += ["", "```text", note.text, "```"] if note.kind == "table" else ["", _line(note.text)]
        if part.tail:
            lines += ["", "Its last lines:", "", "```text", part.tail, "```"]
    return "\n".join(lines) + "\n"


def _figures(part: PartResult) -> list[str]:
    if not part.figures:
        return []
    machine = ", ".join(filter(None, (part.machine.get(key, "") for key in ("card", "driver", "torch"))))
    lines = ["", "| figure | value | unit | precision | card, driver, torch | note |", "|---|---|---|---|---|---|"]
    for figure in part.figures:
        value = f"{figure.value:,.4g}" if abs(figure.value) < 1000 else f"{figure.value:,.0f}"
        cells = (figure.name, value, figure.unit, figure.precision, machine, figure.note)
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    return lines


def _line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|")


def _part(stored: dict[str, Any]) -> PartResult:
    figures = [Figure(**{k: v for k, v in f.items() if k not in MACHINE}) for f in stored["figures"]]
    return PartResult(**{**stored, "figures": figures, "notes": [Note(**note) for note in stored["notes"]]})
