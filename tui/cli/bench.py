"""`dipddpm bench`: what the program costs here, what samples are worth at which cost, how fast networks learn."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import msgspec
import typer

from dipddpm.core.compute import devices
from dipddpm.core.config import DdpmRun
from dipddpm.core.config.ddpm import MIN_EVALUATED, SamplerName
from dipddpm.core.errors import UserError, suggest
from dipddpm.core.io import atomic
from dipddpm.core.io.sanitize import printable
from dipddpm.core.runs import BEST_FILE, Run
from dipddpm.tui.cli.options import Json, RunArgument, RunsDir, find_run
from dipddpm.tui.cli.runs import print_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dipddpm.core.bench.suite import BenchReport
    from dipddpm.core.data import ImageSet

CLI_COMMAND = [sys.executable, "-P", "-c", "from dipddpm.tui.cli.main import main; main()"]
CONSOLE_COMMAND = [sys.executable, "-P", "-c", "from dipddpm.tui.console.__main__ import main; main()"]

app = typer.Typer(help="Measurements of the program, of samples, and of trainings.", invoke_without_command=True)

Out = Annotated[Path, typer.Option(metavar="FOLDER", help="Where to put the numbers (JSON) and the picture (PNG).")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]


@app.callback()
def speed(
    context: typer.Context,
    *,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="PART", help="Measure this part only; may be repeated. A wrong name tells them all."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="A checkout of github.com/BrianPulfer/PapersReimplementations, to train beside; it is run."),
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: all cores.")] = 0,
    events: Annotated[
        int, typer.Option(min=1000, help="Of the longest log that is written and read; ten million take 4 minutes.")
    ] = 1_000_000,
    device: Device = "auto",
    out: Out = Path("bench"),
    json: Json = False,
) -> None:
    """Measure the speed of all that the program does on this machine: medians, spreads, shares of what is possible.

    Start-up and the event log are told beside what they are compared with. Training, DIP, sampling and restoration are
    told as units a second, half the range of the repeats, and the share of the roofline of this machine's own matrix
    product and copy. At the end, how cost grows with the work. Takes ten minutes on 2 cores; --only takes less.
    """
    if context.invoked_subcommand is not None:
        return
    usable = devices.candidates(device)
    import torch

    from dipddpm.core.bench import growth, suite
    from dipddpm.core.report import plots

    parts = () if against and not only else suite.chosen(only or [])
    if threads:
        torch.set_num_threads(threads)
    _make_folder(out)
    report = None
    resolved_device = devices.resolve(usable[0])
    for done, report in suite.measure(
        parts, resolved_device, CLI_COMMAND, CONSOLE_COMMAND, against=against, longest=events
    ):
        print(printable(done), file=sys.stderr)
        report.save(out / "bench.json")
    assert report is not None
    if report.growth:
        plots.save(growth.plot(report.growth), out / "growth.png")
    if json:
        print(msgspec.json.format(msgspec.json.encode(report)).decode())
        return
    for table in _tables(report):
        print_table(table)
        print()
    print(printable(str(out / "bench.json")))


def _tables(report: BenchReport) -> Iterator[list[tuple[str, ...]]]:
    if report.rows:
        table: list[tuple[str, ...]] = [("SECONDS", "MEDIAN", "SPREAD", "RATIO", "AGAINST")]
        yield table + [
            (r.name, f"{r.seconds:.3f}", f"±{r.spread:.3f}", f"{r.ratio:.3f}", r.against) for r in report.rows
        ]
    if report.idle:
        idle = report.idle
        values = (
            f"{idle.cpu:.1%}",
            f"{idle.bytes_per_second:.0f} B/s",
            f"{idle.memory:.0f} MiB",
            f"{idle.exit_seconds:.2f} s",
        )
        yield [("CONSOLE AT REST", "OF A CORE", "TERMINAL", "MEMORY", "TO EXIT"), (f"{idle.runs:,} runs", *values)]
    if report.machine:
        machine = report.machine
        table = [("MACHINE", "THREADS", "COPY", *(f"MATRIX PRODUCT, {name}" for name in machine.flops))]
        most = (f"{value / 1e9:.1f} GFLOP/s" for value in machine.flops.values())
        yield [*table, (machine.device, str(machine.threads), f"{machine.bandwidth / 1e9:.1f} GB/s", *most)]
    if report.rates:
        table = [("PART", "WHAT", "A SECOND", "SPREAD", "UNIT", "MFLOP", "MB", "OF LIMIT", "WARM-UP")]
        for rate in report.rates:
            speeds = (f"{rate.per_second:.2f}", f"±{rate.spread:.2f}", rate.unit)
            costs = (f"{rate.flops / 1e6:.1f}", f"{rate.bytes / 1e6:.1f}", f"{rate.share:.2f}", f"{rate.warm_up:.1f} s")
            table.append((rate.part, rate.name, *speeds, *costs))
        yield table
    if report.draws:
        table = [("SAMPLER", "NFE", "SAMPLES", "FRECHET", "SECONDS")]
        yield table + [
            (d.sampler, str(d.nfe), f"{d.samples:,}", f"{d.frechet:.4f}", f"{d.seconds:.1f}") for d in report.draws
        ]
    if report.growth:
        table = [("COST OF", "BY", "FROM", "TO", "STEEPEST", "")]
        for grown in report.growth:
            first, last = grown.points[0], grown.points[-1]
            ends = (f"{first.amount:,}: {first.seconds:.4f} s", f"{last.amount:,}: {last.seconds:.4f} s")
            worse = "" if grown.linear else "worse than linear"
            table.append((grown.name, grown.amount, *ends, f"^{grown.steepest:.2f}", worse))
        yield table


@app.command()
def quality(
    run: RunArgument = "reference",
    *,
    nfe: Annotated[
        str, typer.Option(help="Evaluations of the network for each image, of each setting.")
    ] = "5,10,20,50",
    samplers: Annotated[str, typer.Option(help="Samplers, parted by commas.")] = ",".join(get_args(SamplerName)),
    n: Annotated[int, typer.Option("--n", "-n", min=MIN_EVALUATED, help="Samples of each setting.")] = 1000,
    seeds: Annotated[int, typer.Option(min=1, help="Times that each is drawn anew; above 100 NFE only once.")] = 3,
    out: Out = Path("quality"),
    device: Device = "auto",
    runs_dir: RunsDir = None,
) -> None:
    """How good a model's samples are against what they cost: Frechet and kernel distance by sampler and NFE.

    What stands in the folder already is not drawn again, so a table can be made in parts. The spread is the standard
    deviation over the seeds; Heun's steps cost two evaluations each, the last one. Needs a model of 28x28 grey images.
    """
    chosen = _samplers(samplers)
    budgets = _budgets(nfe)
    source_run = find_run(run, runs_dir)
    usable = devices.candidates(device)

    from dipddpm.core.bench import quality as bench
    from dipddpm.core.compute import checkpoint
    from dipddpm.core.ddpm.model import TrainedModel
    from dipddpm.core.report import plots

    model = TrainedModel.of_run(source_run.folder, devices.resolve(usable[0]))
    digest = checkpoint.digest(source_run.folder / BEST_FILE)
    numbers, picture = out / "quality.json", out / "quality.png"
    draws = bench.load(numbers, digest, n)
    todo = bench.draws(
        model, _test_images(_ddpm(source_run)), samplers=chosen, nfe=budgets, samples=n, seeds=seeds, known=list(draws)
    )
    _make_folder(out)
    for draw in todo:
        draws.append(draw)
        bench.save(numbers, digest, n, draws)
        print(f"{draw.sampler}, {draw.nfe} NFE, seed {draw.seed}: {draw.frechet:.4f}", file=sys.stderr)
    settings = bench.settings(draws)
    plots.save(bench.plot(settings, n), picture)
    base = bench.longest_ancestral(settings)
    against = "" if base is None else f"OF ANCESTRAL, {base.nfe}"
    table = [("SAMPLER", "NFE", "SEEDS", "FRECHET", "", "KERNEL", "", "SECONDS", against)]
    for s in settings:
        spreads = (f"±{s.frechet_std:.4f}", f"±{s.kernel_std:.5f}") if s.seeds > 1 else ("", "")
        frechet, kernel = (f"{s.frechet:.4f}", spreads[0]), (f"{s.kernel:.5f}", spreads[1])
        share = "" if base is None else f"{s.frechet / base.frechet:.3f}"
        table.append((s.sampler, str(s.nfe), str(s.seeds), *frechet, *kernel, f"{s.seconds:.1f}", share))
    print_table(list(table))
    print(draws[0].protocol)
    print(printable(str(picture)))


@app.command()
def learning(
    run: RunArgument,
    against: Annotated[str, typer.Argument(metavar="BASELINE", help="The run that it is compared with.")],
    *,
    model: Annotated[
        list[str], typer.Option(metavar="EPOCH=FILE", help="The baseline's model after an epoch; may be repeated.")
    ],
    images: Annotated[int, typer.Option(min=128, help="Images that the speed of training is measured on.")] = 1536,
    repeats: Annotated[int, typer.Option(min=1, help="Times that it is measured, in turn.")] = 5,
    out: Out = Path("learning"),
    device: Device = "auto",
    runs_dir: RunsDir = None,
) -> None:
    """In what share of the time a run's network reaches the held-out loss that a baseline has after some epochs.

    Both are measured on the same held-out images with the same noise; a baseline that was trained on these, too, has
    the advantage. The speeds of both networks are measured here and now, in turn.
    """
    ours, theirs = find_run(run, runs_dir), find_run(against, runs_dir)
    usable = devices.candidates(device)

    from dipddpm.core.bench import learning as bench
    from dipddpm.core.report import plots

    resolved_device = devices.resolve(usable[0])
    configs = {_network_name(each): _ddpm(each) for each in (theirs, ours)}
    if len(configs) == 1:
        raise UserError("Both runs are of the same network.", "Give runs of two, or name them differently.")
    baseline, network = configs
    curves = {
        baseline: bench.measured(configs[baseline], _models(model), resolved_device),
        network: bench.logged(ours),
    }
    speeds = bench.seconds_per_image(configs, images=images, repeats=repeats, device=resolved_device)
    seconds = {name: bench.seconds_per_epoch(configs[name], speeds[name]) for name in configs}
    ratio = seconds[network] / seconds[baseline]
    rows = bench.overtaken(curves[network], curves[baseline], ratio)
    _make_folder(out)
    record = {"seconds_per_epoch": seconds, "ratio": ratio, "curves": curves, "overtaken": rows}
    atomic.write_atomic(out / "learning.json", msgspec.json.format(msgspec.json.encode(record)))
    plots.save(bench.plot(curves, seconds), out / "learning.png")
    table = [(f"EPOCHS OF {baseline.upper()}", "LOSS", f"EPOCHS OF {network.upper()}", "SHARE OF THE TIME")]
    for row in rows:
        overtaken = ("never", "") if row.epochs is None else (f"{row.epochs:.2f}", f"{row.share:.3f}")
        table.append((str(row.epoch), f"{row.loss:.5f}", *overtaken))
    print_table(list(table))
    print(f"An epoch of {network} takes {ratio:.3f} of the time of one of {baseline}.")
    print(printable(str(out / "learning.png")))


def _test_images(config: DdpmRun) -> ImageSet:
    from dipddpm.core import data

    root = Path(config.data.directory).expanduser() if config.data.directory else None
    return data.load(config.data.dataset, "test", root=root)


def _samplers(text: str) -> list[SamplerName]:
    known = get_args(SamplerName)
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise UserError(f"There is no sampler named {printable(name)!r}.", suggest(name, known))
    return cast(list[SamplerName], names)


def _budgets(text: str) -> list[int]:
    budgets = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in budgets):
        raise UserError(f"{printable(text)!r} is no list of evaluations.", "Write it as 5,10,20,50.")
    return [int(part) for part in budgets]


def _models(texts: list[str]) -> dict[int, Path]:
    models = {}
    for text in texts:
        epoch, _, file = text.partition("=")
        if not (epoch.isdecimal() and int(epoch) and file):
            raise UserError(f"{printable(text)!r} names no model after an epoch.", "Write it as 5=FILE.")
        models[int(epoch)] = Path(file).expanduser()
    return models


def _ddpm(run: Run) -> DdpmRun:
    config = run.config()
    if not isinstance(config, DdpmRun):
        raise UserError(f"{run.id} is a run of kind {config.kind}.", "Give runs of kind ddpm; dipddpm ls shows them.")
    return config


def _network_name(run: Run) -> str:
    """What a table and a picture call the run: its network."""
    return _ddpm(run).method


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{printable(str(folder))} can't be made: {error.strerror}.", "Choose another --out.") from None
