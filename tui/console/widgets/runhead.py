"""A few lines about the run or group under the cursor: its title, its state and progress, and its error."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.geometry import Size
from textual.widget import Widget

from dipddpm.core.events import RunFailed
from dipddpm.core.io.sanitize import printable
from dipddpm.core.means import decibels
from dipddpm.core.runs import RunState
from dipddpm.tui.console.model.series import RunSeries
from dipddpm.tui.shared.columns import STATE_SIGNS, format_age, format_number, run_title, state_name
from dipddpm.tui.shared.durations import format_duration
from dipddpm.tui.shared.groups import GroupRow
from dipddpm.tui.shared.runlist import RunRow

MARGIN = 3
"""Columns left of each line, in which the first one has its sign."""

REMEDIES = {
    RunState.crashed: "killed, or out of memory; r resumes the run",
    RunState.broken: "the config can't be read; d deletes the run",
    RunState.queued: "waiting for a free slot; Q shows the queue",
}


class RunHead(Widget):
    """The lines about a run or a group; repainted only when their text changes."""

    DEFAULT_CSS = "RunHead { height: auto; min-height: 2; max-height: 6; }"
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"run-head--{tone}" for tone in ("name", "dim", "live", "good", "bad", "warn")
    }

    _text: tuple[tuple[str, str], ...] = ()

    def show(self, row: RunRow, series: RunSeries | None, step: int | None) -> None:
        """Show this run's state now, or its values at `step`."""
        resume = [(f"\n   {row.resume}", "dim")] if row.resume and step is None else []
        found = _found(row, series) if step is None else []
        self._write((*_first_line(row), *_second_line(row, series, step), *found, *resume, *_trouble(row, series)))

    def show_group(self, group: GroupRow) -> None:
        """Show this group's size, kind and progress, and how many of its runs are in each state."""
        sign, tone = STATE_SIGNS[str(group.state)]
        counts = "  ".join(f"{count} {state}" for state, count in group.states)
        share = f"{group.progress:.0%}  "
        what = f"  group of {len(group.runs)}  {group.kind} {group.method}".rstrip()
        self._write(((f" {sign} ", tone), (group.name, "name"), (what, "dim"), (f"\n   {share}{counts}", "dim")))

    def _write(self, text: tuple[tuple[str, str], ...]) -> None:
        if text != self._text:
            lines = sum(part.count("\n") for part, _ in self._text), sum(part.count("\n") for part, _ in text)
            self._text = text
            self.refresh(layout=lines[0] != lines[1] or max(lines) > 1)

    def notify_style_update(self) -> None:
        """Repaint in the colours of the new theme."""
        super().notify_style_update()
        self.refresh()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return the number of lines at this width."""
        return len(self._lines(width))

    def render(self) -> Text:
        """Return the text in the styles of its tones, its long lines wrapped and indented."""
        return Text("\n", end="").join(self._lines(self.content_size.width))

    def _lines(self, width: int) -> list[Text]:
        """Return the lines at this width; what a long one continues with is indented like its beginning."""
        text = Text(end="")
        for part, tone in self._text:
            style = self.get_component_rich_style(f"run-head--{tone}") if tone else Style.null()
            text.append(part, style)
        lines = []
        for line in text.split():
            wrapped = line[MARGIN:].wrap(self.app.console, max(width - MARGIN, 1), overflow="fold")
            margins = [line[:MARGIN], *(Text(" " * MARGIN) for _ in wrapped[1:])]
            lines += [margin + part for margin, part in zip(margins, wrapped, strict=False)] or [line]
        return lines


def _first_line(row: RunRow) -> list[tuple[str, str]]:
    sign, tone = STATE_SIGNS[state_name(row)]
    parts = [(f" {sign} ", tone), (run_title(row), "name"), (f"  {printable(row.id[-4:])}", "dim")]
    parts.append((f"  {state_name(row)}", tone))
    if row.tags:
        parts.append((f"  {' '.join(f'#{tag}' for tag in row.tags)}", "dim"))
    if row.note:
        parts.append((f"  {row.note.splitlines()[0]}", "dim"))
    return parts


def _second_line(row: RunRow, series: RunSeries | None, step: int | None) -> list[tuple[str, str]]:
    if series is not None and step is not None:
        values = series.values_at(step)
        words = [f"step {step:,}"]
        words += [f"epoch {values.epoch:.1f}"] * bool(values.epoch) + [f"at {format_duration(values.seconds)}"]
        words += [] if values.loss is None else [f"loss {format_number(values.loss)}"]
        words += [] if values.held_out is None else [f"held out {format_number(values.held_out)}"]
        words += [] if values.psnr is None else [f"PSNR {decibels(values.psnr, '')}"]
        words += [] if values.residual is None else [f"residual {values.residual:.1f}"]
        return [("\n ◂▸ " + "  ".join(words), "warn"), ("\n    , . move the time cursor   esc leave it", "dim")]
    words = [] if row.progress is None else [f"{row.progress:.0%}"]
    if series is not None and series.started is not None:
        if series.started.epochs:
            words.append(f"epoch {series.epoch}/{series.started.epochs}")
        elif series.started.steps:
            words.append(f"step {series.step:,}/{series.started.steps:,}")
    if row.kind == "image" and row.state.live and series is not None:
        words += _phase(series)
    if row.eta is not None and row.state.live:
        words.append(f"{format_duration(row.eta)} left")
    if row.started:
        words.append(f"{'for' if row.state.live else 'took'} {format_duration(row.duration)}")
    if not (row.started and row.state.live):  # a live run shows its duration, and both rarely fit
        words.append(f"{format_age(row.age)} ago" if format_age(row.age) != "now" else "just now")
    return [("\n   " + "  ".join(words), "dim")]


def _phase(series: RunSeries) -> list[str]:
    """Return what the restoration of given pictures does at the moment."""
    words = [] if series.stage is None else [series.stage.title[:1].lower() + series.stage.title[1:]]
    return words + ([] if series.tile is None else [f"tile {series.tile.tile} of {series.tile.tiles}"])


def _found(row: RunRow, series: RunSeries | None) -> list[tuple[str, str]]:
    """Return a line with the noise that was found in the given picture, and the predicted quality."""
    texts = [event.text for event in series.noise[:1]] if series is not None else []
    if row.quality is not None and row.quality.prediction_text:
        texts.append(f"predicted PSNR {row.quality.prediction_text}")
    elif row.quality is not None and row.truthless:
        texts.append(f"{row.quality.misfit_text} grey levels")
    return [(f"\n   {printable('; '.join(texts), 300)}", "dim")] if texts else []


def _trouble(row: RunRow, series: RunSeries | None) -> list[tuple[str, str]]:
    """Return the run's error and its remedy, or a note that it waits or is stalled; empty if there is none."""
    if row.state in REMEDIES:
        return [(f"\n   {REMEDIES[row.state]}", "bad" if row.state is not RunState.queued else "dim")]
    if row.state is RunState.failed and series is not None and isinstance(series.ended, RunFailed):
        return [
            (f"\n   {printable(series.ended.error, 300)}", "bad"),
            (f" {printable(series.ended.hint, 300)}", "warn"),
        ]
    if row.stalled:
        return [("\n   alive, but no progress for two minutes", "warn")]
    return []
