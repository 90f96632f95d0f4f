"""The study's report: each published number beside ours, why they differ, why the hybrid failed, and what works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from dipddpm.core.config import StudyRun
from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.events import EpochFinished, PsnrMeasured, StopsCompared
from dipddpm.core.io import atomic
from dipddpm.core.report import scoreboard, study_figures
from dipddpm.core.report.document import Block, BulletList, FigureBlock, Heading, ImageBlock, Page, Table, Text
from dipddpm.core.runs import ENVIRONMENT_FILE, Run
from dipddpm.core.study.findings import Explanation, after
from dipddpm.core.study.published import published
from dipddpm.core.study.stages import FULL_EPOCHS, Stage
from dipddpm.core.study.summary import explanation_of, stage_summaries
from dipddpm.core.study.verdicts import overlooked_cause, verdicts

NOT_PUBLISHED = (
    "These are not the published settings: {what}. The published numbers stand beside ours to show the form of the "
    "report; ratios, which would mean nothing here, are left out."
)
WHY_DDPM = (
    "With the settings as published the losses do not come out as published: at 60,000 images, epoch 1 lands at 0.189, "
    "not 0.129, and the later ones stay behind too. The same network written down plainly a second time, with a "
    "training loop of its own, has 0.19 to 0.21 in epoch 1, by seed; with batches of 64 the first two epochs are 0.139 "
    "and 0.067. What else the study did otherwise is not known."
)
WHY_SUBSTITUTION = (
    "The published text doesn't say how its hourglass is made. Ours is the reading that comes nearest to its first two "
    "epochs: random weights that never change, two scales, no skips. Where ours falls less far, it lets less of the "
    "noise through; the chapter on why it failed measures how the loss hangs on that."
)
WHY_DIP = (
    "The published minutes are those of ten fits one after the other; here all images are fitted at once by one "
    "grouped network, on whatever machine this is."
)


def page(study: StudyRun, stages: Sequence[Stage], runs_by_stage: Mapping[str, Run]) -> Page:
    """The report of the stages that are made so far; the others are named as missing."""
    report = Page("The published study, reproduced")
    if shortened := _deviations(study):
        report.blocks += [Text(_opening(study)), Text(NOT_PUBLISHED.format(what=shortened), notice=True)]
    else:
        report.blocks.append(Text(f"{_opening(study)} A ratio is ours divided by the published number."))
    if sentences := stage_summaries(runs_by_stage):
        report.blocks += [Heading("In short"), BulletList(sentences)]
    report.blocks += [Heading("The runs"), _runs(stages, runs_by_stage)]
    chapters = {
        "ddpm": _ddpm,
        "dip": _dip,
        "substitution": _substitution,
        "full": _full,
        "explanation": _explanation,
        "hybrids": _hybrids,
    }
    for stage in stages:
        report.blocks.append(Heading(stage.title))
        if stage.key in runs_by_stage:
            blocks = chapters[stage.key](runs_by_stage[stage.key])
            report.blocks += [_without_ratios(block) for block in blocks] if shortened else blocks
        else:
            report.blocks.append(Text("Not there yet."))
    return report


def _without_ratios(block: Block) -> Block:
    """A table without ratios of what can't be compared, and without rows that have nothing of ours."""
    if not isinstance(block, Table) or "ratio" not in block.head:
        return block
    ratios, ours = block.head.index("ratio"), block.head.index("ours")
    rows = [row for row in block.rows if row[ours]]
    head, *body = ([cell for column, cell in enumerate(row) if column != ratios] for row in (block.head, *rows))
    return Table(head, body)


def comparison_rows(published_values: Sequence[float], ours: Sequence[float], first: int = 1) -> list[list[str]]:
    """Rows of epoch, published, ours and their ratio; what one side lacks is left open."""
    rows = []
    for index in range(max(len(published_values), len(ours))):
        theirs = published_values[index] if index < len(published_values) else None
        mine = ours[index] if index < len(ours) else None
        rows.append([str(first + index), number(theirs), number(mine), ratio(mine, theirs)])
    return rows


def number(value: float | None, digits: int = 3) -> str:
    """A number of a table, open where there is none."""
    return "" if value is None else f"{value:.{digits}f}"


def ratio(ours: float | None, theirs: float | None) -> str:
    """Ours as a multiple of theirs."""
    return "" if ours is None or not theirs else f"{ours / theirs:.2f}"


def minutes(clock: str) -> float:
    """Minutes of a wall-clock time written as M:SS."""
    whole, seconds = clock.split(":")
    return int(whole) + int(seconds) / 60


def _opening(study: StudyRun) -> str:
    images = f"the first {study.data.train_images:,}" if study.data.train_images else "all"
    return (
        f"A DDPM and a Deep Image Prior (DIP) on images of clothes, and a hybrid of the two that failed: what the "
        f"study printed beside what this program measured, on {images} training images of {study.data.dataset}, seed "
        f"{study.seed}. Losses are mean squared errors of eps, the noise that the networks are asked for."
    )


def _deviations(study: StudyRun) -> str:
    """What differs from the published settings, in words; empty for none."""
    default, theirs = StudyRun(), published()
    parts = []
    if (study.data.dataset, study.data.train_images) != (default.data.dataset, 0):
        part = f" (the first {study.data.train_images:,})" if study.data.train_images else ""
        parts.append(f"{study.data.dataset}{part} in place of {theirs.ddpm.dataset}")
    if study.study.epochs != theirs.ddpm.epochs:
        parts.append(f"epochs: {study.study.epochs} in place of {theirs.ddpm.epochs}")
    if study.study.images != default.study.images:
        parts.append(f"images for DIP: {study.study.images} in place of {default.study.images}")
    if study.study.iterations != default.study.iterations:
        parts.append(f"DIP steps: {study.study.iterations} in place of {default.study.iterations}")
    return "; ".join(parts)


def _runs(stages: Sequence[Stage], runs_by_stage: Mapping[str, Run]) -> Table:
    rows = []
    for stage in stages:
        run = runs_by_stage.get(stage.key)
        took = _seconds(run) if run else None
        where = _device(run) if run else ""
        rows.append([stage.title, run.id if run else "", where, "" if took is None else f"{took / 60:.1f}"])
    return Table(["stage", "run", "on", "minutes"], rows)


def _seconds(run: Run) -> float:
    """From the start to the end; in a run that was interrupted, the time between counts too."""
    summary = run.status().summary
    return max(0.0, (summary.ended or summary.last) - summary.started)


def _device(run: Run) -> str:
    """The device by its name, and nothing that tells the host."""
    try:
        environment = msgspec.json.decode(atomic.read(run.folder / ENVIRONMENT_FILE))
        return str(environment.get("device_name") or environment.get("device") or "")
    except (OSError, ValueError, RecursionError, AttributeError):
        return ""


def _epochs(run: Run) -> list[EpochFinished]:
    return [event for event in run.events() if isinstance(event, EpochFinished)]


def _photos(run: Run, titles: Mapping[str, str]) -> list[Block]:
    """The pictures of these names that the run has."""
    candidates = [(run.folder / "images" / f"{name}.png", title) for name, title in titles.items()]
    return [ImageBlock(file, title) for file, title in candidates if file.is_file() and not file.is_symlink()]


def _clock(theirs: float, wall_clock: str, epochs: Sequence[EpochFinished]) -> Table:
    """Seconds of an epoch, and minutes of all."""
    seconds = [epoch.seconds for epoch in epochs]
    mean, total = sum(seconds) / len(seconds), sum(seconds) / 60
    return Table(
        ["time", "published", "ours", "ratio"],
        [
            ["seconds per epoch", f"{theirs:.2f}", f"{mean:.2f}", ratio(mean, theirs)],
            ["minutes, all epochs", wall_clock, f"{total:.1f}", ratio(total, minutes(wall_clock))],
        ],
    )


def _ddpm(run: Run) -> list[Block]:
    theirs, epochs = published().ddpm, _epochs(run)
    ours = [epoch.loss for epoch in epochs]
    return [
        *_photos(run, {"first-batch": "The first batch", "forward-process": "The forward process"}),
        Table(["epoch", "published", "ours", "ratio"], comparison_rows(theirs.epoch_loss, ours)),
        FigureBlock("ddpm", "Loss of DDPM", study_figures.loss_curves(ours, theirs.epoch_loss, study_figures.DDPM)),
        _clock(theirs.seconds_per_epoch, theirs.wall_clock, epochs),
        Text(WHY_DDPM),
        *_photos(run, {"samples": "Samples of DDPM"}),
    ]


def _dip(run: Run) -> list[Block]:
    theirs, events = published().dip, run.events()
    measurements = [event for event in events if isinstance(event, PsnrMeasured)]
    ends = [event for event in events if isinstance(event, StopsCompared)]
    took = _seconds(run) / 60
    rows = [["minutes, all images", f"{theirs.total_minutes:.1f}", f"{took:.1f}", ratio(took, theirs.total_minutes)]]
    blocks: list[Block] = [Text(f"Published: {theirs.finding}.")]
    if measurements:
        rows.insert(0, ["images", str(theirs.images), str(len(measurements[0].psnr)), ""])
        psnr = [_mean(measured.averaged or measured.psnr) for measured in measurements]
        steps, losses = [measured.step for measured in measurements], [_mean(look.loss) for look in measurements]
        title = "PSNR and loss of DIP, on the mean of its images"
        blocks.append(FigureBlock("dip", title, study_figures.restoration_curves(steps, psnr, losses)))
    if ends:
        end = ends[-1]
        blocks.append(
            Text(
                f"Ours: PSNR rises to {_mean(end.peak):.2f} dB, at step {_mean(end.peak_at):.0f} on the mean, and has "
                f"declined to {_mean(end.final):.2f} dB at the last step. The stop that doesn't know the truth gives "
                f"{_mean(end.psnr):.2f} dB."
            )
        )
    table = Table(["DIP", "published", "ours", "ratio"], rows)
    return [*blocks, table, Text(WHY_DIP), *_photos(run, {"restored": "Measured, restored, truth"})]


def _substitution(run: Run) -> list[Block]:
    theirs, epochs = published().hybrid_substitution, _epochs(run)
    ours = [epoch.loss for epoch in epochs]
    return [
        Text(f"Published: {theirs.description}; {theirs.finding}."),
        Table(["epoch", "published", "ours", "ratio"], comparison_rows(theirs.epoch_loss, ours)),
        FigureBlock(
            "substitution",
            "Loss of the hybrid",
            study_figures.loss_curves(ours, theirs.epoch_loss, study_figures.HYBRID),
        ),
        _clock(theirs.seconds_per_epoch, theirs.wall_clock, epochs),
        Text(WHY_SUBSTITUTION),
        *_photos(run, {"samples": "Samples of the hybrid"}),
    ]


def _full(run: Run) -> list[Block]:
    theirs, epochs = published().hybrid_substitution, _epochs(run)
    first = FULL_EPOCHS - len(theirs.epochs_90_to_100_loss) + 1
    last = epochs[first - 1 :]
    rows = comparison_rows(theirs.epochs_90_to_100_loss, [epoch.loss for epoch in last], first)
    for row, was, epoch in zip(rows, theirs.epochs_90_to_100_stored, last, strict=False):
        row += ["stored" if was else "", "stored" if epoch.best else ""]
    head = ["epoch", "published", "ours", "ratio", "published as best", "ours as best"]
    return [Table(head, rows), Text(WHY_SUBSTITUTION)]


def _explanation(run: Run) -> list[Block]:
    record = explanation_of(run)
    rows = [_input(record, name) for name in record.linear]
    denoised = [
        [f"{one.sigma:g}", one.method, f"{one.psnr:.2f}", f"{one.ssim:.3f}", f"{one.accuracy:.1%}"]
        for one in record.denoised
    ]
    sizes = (
        f"Measured on {record.test_images} test images of fashion-mini; small networks of the same kind, of "
        f"{record.epochs} epochs on {record.train_images} training images, and linear filters of 9x9 pixels. k is the "
        f"number of steps that DIP has been fitted to xt: a fixed one; by noise level, as many as take away what the "
        f"noise put in; best by t, as suits the loss."
    )
    lines = [str(verdict) for verdict in verdicts(record, published().hybrid_substitution.suspected_causes)]
    return [
        Text(overlooked_cause(record)),
        Text(sizes),
        *_photos(run, {"explanation": "Why the published hybrid failed"}),
        Table(["the network sees", "loss", "linearly predictable", "distance from xt"], rows),
        Heading("The causes that the study suspected", 3),
        BulletList(lines),
        Heading("Left and right: denoised images", 3),
        Text(
            f"The same noised images denoised in one step, by the network that sees xt and by the one that sees DIP's "
            f"output ({after(record.fixed)}). The share recognised is that of our classifier."
        ),
        Table(["sigma", "method", "PSNR, dB", "SSIM", "recognised"], denoised),
        *_photos(run, {"denoised": "Measured, DDPM alone, the hybrid, truth; twice in each row"}),
    ]


def _input(record: Explanation, name: str) -> list[str]:
    return [name, f"{record.loss(name):.3f}", f"{record.linear_share(name):.1%}", number(record.distance.get(name))]


def _hybrids(run: Run) -> list[Block]:
    """The scoreboard: what comes of it all, quality against time, and each cell with all its methods."""
    board = Scoreboard(run.events())
    tasks = dict.fromkeys(cell.task for cell in board.cells.values())
    plots = {f"quality-time-{ordinal}": f"PSNR against seconds: {task}" for ordinal, task in enumerate(tasks, 1)}
    return [
        Text(
            "Each hybrid minus the better of its parents on the same images, DIP and diffusion each given as much time "
            "as the hybrid took: PSNR with 95% bounds. NFE, iterations and seconds are everything that was done."
        ),
        BulletList(board.verdicts()),
        *_photos(run, plots),
        *scoreboard.cells(board),
    ]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
