"""One or two lines on the run under the cursor: what it is, where it stands, and what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.style import Style
from rich.text import Text
from textual.widget import Widget

from core.runs import State
from core.text import printable
from tui.columns import SIGNS, age, number, state, title
from tui.lines import duration

if TYPE_CHECKING:
    from tui.model.groups import GroupRow
    from tui.model.runlist import RunRow
    from tui.model.series import RunSeries

REMEDIES = {
    State.crashed: "its process is gone, killed or out of memory; r resumes it, 3 has its words",
    State.broken: "its config can't be read; d deletes it",
    State.queued: "waits for a free slot; Q shows the queue",
}


class RunHead(Widget):
    """Drawn anew only when its words change."""

    DEFAULT_CSS = "RunHead { height: auto; min-height: 2; max-height: 4; }"
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "run-head--name",
        "run-head--dim",
        "run-head--live",
        "run-head--good",
        "run-head--bad",
        "run-head--warn",
    }

    def __init__(self) -> None:
        super().__init__()
        self._text: tuple[tuple[str, str], ...] = ()

    def show(self, row: RunRow, series: RunSeries | None, step: int | None) -> None:
        """Show where this run stands, or stood at `step`."""
        self._write((*_first_line(row), *_second_line(row, series, step), *_trouble(row, series)))

    def show_group(self, group: GroupRow) -> None:
        """Show what is in this group and how far it is."""
        sign, tone = SIGNS[str(group.state)]
        told = "  ".join(f"{count} {state}" for state, count in group.states)
        share = "" if group.progress is None else f"{group.progress:.0%}  "
        what = f"  group of {len(group.runs)}  {group.kind} {group.method}".rstrip()
        self._write(((f" {sign} ", tone), (group.name, "name"), (what, "dim"), (f"\n   {share}{told}", "dim")))

    def _write(self, text: tuple[tuple[str, str], ...]) -> None:
        if text != self._text:
            lines = sum(part.count("\n") for part, _ in self._text), sum(part.count("\n") for part, _ in text)
            self._text = text
            self.refresh(layout=lines[0] != lines[1] or max(lines) > 1)

    def notify_style_update(self) -> None:
        """Another theme, other colours."""
        super().notify_style_update()
        self.refresh()

    def render(self) -> Text:
        """The words in their tones."""
        text = Text(end="", overflow="ellipsis")
        for part, tone in self._text:
            style = self.get_component_rich_style(f"run-head--{tone}") if tone else Style.null()
            text.append(part, style)
        return text


def _first_line(row: RunRow) -> list[tuple[str, str]]:
    sign, tone = SIGNS[state(row)]
    parts = [(f" {sign} ", tone), (title(row), "name"), (f"  {row.id[-4:]}", "dim")]
    parts.append((f"  {state(row)}", tone))
    if row.tags:
        parts.append((f"  {' '.join(f'#{tag}' for tag in row.tags)}", "dim"))
    if row.note:
        parts.append((f"  {row.note.splitlines()[0]}", "dim"))
    return parts


def _second_line(row: RunRow, series: RunSeries | None, step: int | None) -> list[tuple[str, str]]:
    if series is not None and step is not None:
        at = series.reading(step)
        words = [f"step {step:,}"]
        words += [f"epoch {at.epoch:.1f}"] * bool(at.epoch) + [f"at {duration(at.seconds)}"]
        words += [] if at.loss is None else [f"loss {number(at.loss)}"]
        words += [] if at.held_out is None else [f"held out {number(at.held_out)}"]
        words += [] if at.psnr is None else [f"PSNR {number(at.psnr, 2)} dB"]
        return [("\n ◂▸ " + "  ".join(words), "warn"), ("  , . move  esc now", "dim")]
    words = [] if row.progress is None else [f"{row.progress:.0%}"]
    if series is not None and series.started is not None:
        if series.started.epochs:
            words.append(f"epoch {series.epoch}/{series.started.epochs}")
        elif series.started.steps:
            words.append(f"step {series.step:,}/{series.started.steps:,}")
    if row.eta is not None and row.state.live:
        words.append(f"{duration(row.eta)} left")
    if row.started:
        words.append(f"{'for' if row.state.live else 'took'} {duration(row.duration)}")
    words.append(f"{age(row.age)} ago" if age(row.age) != "now" else "just now")
    return [("\n   " + "  ".join(words), "dim")]


def _trouble(row: RunRow, series: RunSeries | None) -> list[tuple[str, str]]:
    """What went wrong, and what to do about it."""
    from core.events import RunFailed

    if row.state in REMEDIES:
        return [(f"\n   {REMEDIES[row.state]}", "bad" if row.state is not State.queued else "dim")]
    if row.state is State.failed and series is not None and isinstance(series.ended, RunFailed):
        return [
            (f"\n   {printable(series.ended.error, 300)}", "bad"),
            (f" {printable(series.ended.hint, 300)}", "warn"),
        ]
    if row.stalled:
        return [("\n   alive, but no progress for two minutes", "warn")]
    return []
