"""The study's report: each published number next to ours, why they differ, why the hybrid failed, and what works.

The text is in `assets/study-report.md`; this module computes the numbers, tables and pictures that the text names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import msgspec

from dipddpm.core.config import StudyRun
from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.events import EpochFinished, PsnrMeasured, StopsCompared
from dipddpm.core.io import atomic, records
from dipddpm.core.means import psnr_mean
from dipddpm.core.report import scoreboard
from dipddpm.core.report.document import Block, BulletList, Heading, ImageBlock, Page, Table, Text, fill
from dipddpm.core.report.plots import Curve, LinePlot, draw
from dipddpm.core.report.study_figures import restoration_curves
from dipddpm.core.report.style import PAGE
from dipddpm.core.runs import ENVIRONMENT_FILE, Run
from dipddpm.core.runs.environment import Environment
from dipddpm.core.study.findings import (
    AS_PUBLISHED,
    MEAN_GIVEN_BACK,
    REAL,
    WITHOUT_NORM,
    XT,
    Explanation,
    after,
)
from dipddpm.core.study.published import Ddpm, Substitution, published
from dipddpm.core.study.stages import FULL_EPOCHS, Stage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = Path(__file__).parents[1] / "assets" / "study-report.md"
HEAD = ["epoch", "published", "ours", "ratio"]
MEAN_GAIN = 157
"""1 / sqrt(alpha_bar_T) of the published schedule: the growth of an error of the mean from noise to image."""


def page(study: StudyRun, stages: Sequence[Stage], runs_by_stage: Mapping[str, Run]) -> Page:
    """Return the report of the stages that have run so far; the other stages are named as missing."""
    titles = {stage.key: stage.title for stage in stages}
    results = {key: RESULTS[key](runs_by_stage[key]) for key in titles if key in runs_by_stage}
    deviations = _deviations(study)
    values = {
        "images": f"the first {study.data.train_images:,}" if study.data.train_images else "all",
        "dataset": study.data.dataset,
        "seed": study.seed,
        "deviations" if deviations else "as_published": deviations,
        "runs": [_runs(stages, runs_by_stage)],
        "published": published(),
        **results,
    }
    opening, *chapters = TEMPLATE.read_text(encoding="utf-8").split("\n## ")
    title, opening = opening.removeprefix("# ").split("\n", 1)
    report = Page(title, fill(opening, values))
    for name, text in (chapter.split("\n", 1) for chapter in chapters):
        if name in results:
            blocks = fill(text, values | results[name], _pictures(runs_by_stage[name], name, results[name]))
        elif name in titles:
            blocks = [Text("This stage has no finished run yet.")]
        else:
            blocks = [] if name in RESULTS else fill(text, values)
        if blocks:
            report.blocks += [Heading(titles.get(name, name)), *blocks]
    if deviations:
        report.blocks = [_without_ratios(block) for block in report.blocks]
    return report


def _without_ratios(block: Block) -> Block:
    """Return a table without its column of ratios and without the rows for which we have no number."""
    if not isinstance(block, Table) or "ratio" not in block.head:
        return block
    ratios, ours = block.head.index("ratio"), block.head.index("ours")
    rows = [row for row in block.rows if row[ours]]
    head, *body = ([cell for column, cell in enumerate(row) if column != ratios] for row in (block.head, *rows))
    return Table(head, body)


def comparison_rows(published_values: Sequence[float], ours: Sequence[float], first: int = 1) -> list[list[str]]:
    """Return rows of epoch, published value, our value and their ratio; a missing value gives an empty cell."""
    pairs = zip_longest(published_values, ours)
    return [
        [str(epoch), number(theirs), number(mine), ratio(mine, theirs)]
        for epoch, (theirs, mine) in enumerate(pairs, first)
    ]


def number(value: float | None) -> str:
    """Return a number as a table cell; a missing number gives an empty cell."""
    return "" if value is None else f"{value:.3f}"


def ratio(ours: float | None, theirs: float | None) -> str:
    """Return our number divided by the published one, as a table cell."""
    return "" if ours is None or not theirs else f"{ours / theirs:.2f}"


def minutes(clock: str) -> float:
    """Return the minutes of a wall-clock time written as M:SS."""
    whole, seconds = clock.split(":")
    return int(whole) + int(seconds) / 60


def _deviations(study: StudyRun) -> str:
    """Describe how the settings differ from the published ones; empty if they don't."""
    defaults, theirs = StudyRun(), published()
    parts = []
    if (study.data.dataset, study.data.train_images) != (defaults.data.dataset, 0):
        part = f" (the first {study.data.train_images:,})" if study.data.train_images else ""
        parts.append(f"{study.data.dataset}{part} in place of {theirs.ddpm.dataset}")
    settings = {
        "epochs": (study.study.epochs, theirs.ddpm.epochs),
        "images for DIP": (study.study.images, defaults.study.images),
        "DIP steps": (study.study.iterations, defaults.study.iterations),
    }
    parts += [f"{name}: {ours} in place of {default}" for name, (ours, default) in settings.items() if ours != default]
    return "; ".join(parts)


def _runs(stages: Sequence[Stage], runs_by_stage: Mapping[str, Run]) -> Table:
    rows = []
    for stage in stages:
        if run := runs_by_stage.get(stage.key):
            environment = records.read(run.folder / ENVIRONMENT_FILE, Environment) or Environment()
            # A report may be published: it names the device, but never the host.
            device = environment.device_name or environment.device
            rows.append([stage.title, run.id, device, f"{_seconds(run) / 60:.1f}"])
        else:
            rows.append([stage.title, "", "", ""])
    return Table(["stage", "run", "on", "minutes"], rows)


def _seconds(run: Run) -> float:
    """Return the seconds from the start to the end of a run, interruptions included."""
    summary = run.status().summary
    return max(0.0, (summary.ended or summary.last) - summary.started)


def _pictures(run: Run, stage: str, result: Mapping[str, Any]) -> dict[str, Figure | Path]:
    """Return the pictures that the run has stored, by name, and the figure of its result under the stage's key."""
    files = (run.folder / "images").glob("*.png")
    pictures: dict[str, Figure | Path] = {file.stem: file for file in files if not file.is_symlink() and file.is_file()}
    return pictures | ({stage: result["figure"]} if "figure" in result else {})


def _training(run: Run, theirs: Ddpm | Substitution) -> dict[str, Any]:
    """Return the losses and seconds of the epochs of DDPM or of the hybrid."""
    epochs = _epochs(run)
    if not epochs:
        return {}
    losses, seconds = [epoch.loss for epoch in epochs], mean(epoch.seconds for epoch in epochs)
    total, theirs_seconds = seconds * len(epochs) / 60, theirs.seconds_per_epoch
    curves = [_loss_curve("published", theirs.epoch_loss), _loss_curve("ours", losses)]
    clock = [
        ["seconds per epoch", f"{theirs_seconds:.2f}", f"{seconds:.2f}", ratio(seconds, theirs_seconds)],
        ["minutes, all epochs", theirs.wall_clock, f"{total:.1f}", ratio(total, minutes(theirs.wall_clock))],
    ]
    return {
        "epochs": len(epochs),
        "loss": losses[-1],
        "losses": [Table(HEAD, comparison_rows(theirs.epoch_loss, losses))],
        "clock": [Table(["time", *HEAD[1:]], clock)],
        "figure": draw(LinePlot("Loss", "epoch", "loss", curves), PAGE),
    }


def _full(run: Run) -> dict[str, Any]:
    """Return the last losses of the long run and which of its epochs were stored as the best."""
    theirs, epochs = published().hybrid_substitution, _epochs(run)
    first = FULL_EPOCHS - len(theirs.epochs_90_to_100_loss) + 1
    last = epochs[first - 1 :]
    rows = comparison_rows(theirs.epochs_90_to_100_loss, [epoch.loss for epoch in last], first)
    for row, stored, epoch in zip(rows, theirs.epochs_90_to_100_stored, last, strict=False):
        row += ["stored" if stored else "", "stored" if epoch.best else ""]
    table = Table([*HEAD, "published as best", "ours as best"], rows)
    return {**_training(run, theirs), "losses": [table]}


def _dip(run: Run) -> dict[str, Any]:
    theirs, events, took = published().dip, run.events(), _seconds(run) / 60
    measurements = [event for event in events if isinstance(event, PsnrMeasured)]
    ends = [event for event in events if isinstance(event, StopsCompared)]
    rows = [["minutes, all images", f"{theirs.total_minutes:.1f}", f"{took:.1f}", ratio(took, theirs.total_minutes)]]
    result: dict[str, Any] = {"costs": [Table(["DIP", *HEAD[1:]], rows)]}
    if measurements:
        rows.insert(0, ["images", str(theirs.images), str(len(measurements[0].psnr)), ""])
        psnr = [psnr_mean(measured.averaged or measured.psnr).value for measured in measurements]
        steps, losses = (
            [measured.step for measured in measurements],
            [_mean(measured.loss) for measured in measurements],
        )
        result["figure"] = restoration_curves(steps, psnr, losses)
    if ends:
        end = ends[-1]
        result |= {
            "peak": psnr_mean(end.peak).value,
            "peak_at": _mean(end.peak_at),
            "final": psnr_mean(end.final).value,
        }
        result["stop"] = psnr_mean(end.psnr).value
    return result


def _explanation(run: Run) -> dict[str, Any]:
    record = msgspec.json.decode(atomic.read(run.folder / "explanation.json"), type=Explanation)
    fixed = after(record.fixed)
    inputs = [
        [name, number(record.loss(name)), f"{record.linear_share(name):.1%}", number(record.distance.get(name))]
        for name in record.linear
    ]
    denoised = [
        [f"{scores.sigma:g}", scores.method, f"{scores.psnr:.2f}", f"{scores.ssim:.3f}", f"{scores.accuracy:.1%}"]
        for scores in record.denoised
    ]

    def both(measure: Callable[[str], float]) -> dict[str, float]:
        return {"xt": measure(XT), "dip": measure(fixed)}

    return _baseline(record) | {
        "record": record,
        "loss": {name: record.loss(name) for name in record.trained} | {"dip": record.loss(fixed)},
        "linear": both(record.linear_share),
        "unexplained": 1 - record.linear_share(fixed),
        "by_steps": ", ".join(f"{record.loss(after(k)):.3f} at k = {k}" for k in record.steps),
        "inputs": [Table(["network's input", "loss", "linearly predictable", "distance from xt"], inputs)],
        "answers": record.answers(),
        "gradient_spread": both(record.gradient_spread),
        "spikes": both(record.spikes),
        "trial_steps": sum(result.steps for result in record.trained[XT]),
        "seed_spread": both(lambda name: stdev(result.loss for result in record.trained[name])),
        "gap": record.loss(fixed) - record.loss(XT),
        "stability": "stable" if record.is_calm else "unstable",
        "steps": {name: ", ".join(f"{k:.0f}" for k in counts) for name, counts in record.chosen.items()},
        "closed": {name: record.closed_share(name) for name in record.chosen},
        "denoised": [Table(["sigma", "method", "PSNR, dB", "SSIM", "recognised"], denoised)],
    }


def _baseline(record: Explanation) -> dict[str, Any]:
    """Return the values of the chapter on the baseline's blindness; none for a record that lacks it."""
    if not record.baseline:
        return {}
    rows = [
        [
            name,
            *(map(number, result.losses) if result.losses else ("", "")),
            "" if result.response is None else f"{result.response:.0%}",
            f"{result.spread:.2f}",
            f"{result.contrast:.2f}",
            f"{result.frechet:.2f}",
            number(result.kernel),
            f"{result.own_range_frechet:.2f}",
        ]
        for name, result in record.baseline.items()
    ]
    head = [
        "samples",
        "loss",
        "on test images",
        "brightness found",
        "spread",
        "contrast",
        "Frechet",
        "kernel",
        "scaled",
    ]
    values = {
        "title": "The baseline is blind to brightness",
        "published": record.baseline[AS_PUBLISHED],
        "given_back": record.baseline[MEAN_GIVEN_BACK],
        "without_norm": record.baseline[WITHOUT_NORM],
        "real": record.baseline[REAL],
        "answer": record.brightness_answer(),
        "closed": record.mended_share(MEAN_GIVEN_BACK),
        "norm_answer": "yes" if record.is_in_range(WITHOUT_NORM) else "no, not in this short training",
        "images": record.baseline_images,
        "epochs": record.baseline_epochs,
        "samples": record.baseline_samples,
        "gain": MEAN_GAIN,
        "pixels": 28 * 28,
    }
    return {"baseline": values, "brightness_table": [Table(head, rows)]}


def _hybrids(run: Run) -> dict[str, Any]:
    """Return the scoreboard: all gains, the plots of quality against time, and the table of each cell."""
    board = Scoreboard(run.events())
    cells = list(board.cells.values())
    tasks = enumerate(dict.fromkeys(cell.task for cell in cells), 1)
    plots = {f"PSNR against seconds: {task}": run.folder / "images" / f"quality-time-{n}.png" for n, task in tasks}
    headline = board.headline()
    result = {
        "gains": [BulletList(board.verdicts())],
        "plots": [ImageBlock(file, title) for title, file in plots.items() if file.is_file() and not file.is_symlink()],
        "cells": scoreboard.cells(board),
    }
    return result if headline is None else {**result, "headline": headline, "verdicts": board.verdicts()}


def _loss_curve(name: str, losses: Sequence[float]) -> Curve:
    return Curve(name, range(1, len(losses) + 1), losses)


def _epochs(run: Run) -> list[EpochFinished]:
    return [event for event in run.events() if isinstance(event, EpochFinished)]


def _mean(values: Sequence[float]) -> float:
    return mean(values) if values else float("nan")


RESULTS: Mapping[str, Callable[[Run], dict[str, Any]]] = {
    "ddpm": lambda run: _training(run, published().ddpm),
    "dip": _dip,
    "substitution": lambda run: _training(run, published().hybrid_substitution),
    "full": _full,
    "explanation": _explanation,
    "hybrids": _hybrids,
}
"""For each stage, the function that computes the values named by the template's chapter of that key."""
