"""`dipddpm bench stops` and `dipddpm bench original`: what the Deep Image Prior here is worth."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dipddpm.core import config as configs
from dipddpm.core.bench import stops as bench
from dipddpm.core.compute import devices
from dipddpm.core.config import DipRun
from dipddpm.core.io.sanitize import printable
from dipddpm.core.launch import preflight
from dipddpm.tui.cli.bench import Device
from dipddpm.tui.cli.runs import print_table

Images = Annotated[str, typer.Option(help="Places in the split, as 0-9 or 3,17,42.")]
Split = Annotated[str, typer.Option(help="train or test.")]
Dataset = Annotated[str, typer.Option(help="The data set that the images are from.")]
Iterations = Annotated[int, typer.Option(min=1, help="Iterations of a fit, at most.")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0: all cores.")]


def stops(
    *,
    task: Annotated[
        list[str] | None, typer.Option(metavar="SPEC", help="A degradation, as denoise:sigma=25; may be repeated.")
    ] = None,
    images: Images = "0-99",
    split: Split = "test",
    dataset: Dataset = "fashionmnist",
    seeds: Annotated[int, typer.Option(min=1, help="Times that each task is fitted, with new noise and weights.")] = 3,
    iterations: Iterations = 1000,
    threads: Threads = 0,
    device: Device = "auto",
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to put the numbers (JSON).")] = Path("stops.json"),
) -> None:
    """How far the images at the truth-free stops are from the best that the fits ever had, by task.

    What stands in the file already is not fitted again, so a table can be made in parts. The spread is half the range
    of the seeds' mean gaps; 95% of all gaps are below the last figure.
    """
    tasks = [configs.format_task(configs.parse_task(each)) for each in task or bench.TASKS]
    config = _config(dataset, split, images, {"dip.iterations": iterations, "device": device})
    fitted = bench.load(out, config)
    _threads(threads)
    for fit in bench.fits(config, tasks, seeds, list(fitted)):
        fitted.append(fit)
        bench.save(out, config, fitted)
        (row,) = bench.rows([fit])
        print(f"{fit.task}, seed {fit.seed}: {row.gap:.2f} dB below the peak", file=sys.stderr)
    table = [("TASK", "RULE", "SEEDS", "STOP", "PSNR", "PEAK", "FINAL", "GAP", "", "95%")]
    for row in bench.rows(fit for fit in fitted if fit.task in tasks):
        values = (f"{row.at:.0f}", f"{row.psnr:.2f}", f"{row.peak:.2f}", f"{row.final:.2f}", f"{row.gap:.2f}")
        table.append((row.task, row.rule, str(row.seeds), *values, f"±{row.spread:.2f}", f"{row.percentile:.2f}"))
    print_table(list(table))


def original(
    path: Annotated[Path, typer.Argument(help="A checkout of github.com/DmitryUlyanov/deep-image-prior; it is run.")],
    *,
    task: Annotated[str, typer.Option(metavar="SPEC", help="The noise, as denoise:sigma=25.")] = "denoise:sigma=25",
    images: Images = "0-9",
    split: Split = "test",
    dataset: Dataset = "fashionmnist",
    fitted: Annotated[int, typer.Option(min=1, help="Of these images, how many the original is given.")] = 2,
    iterations: Annotated[int, typer.Option(min=1, help="Iterations of the original.")] = 600,
    threads: Threads = 0,
    device: Device = "cpu",
) -> None:
    """Our fit beside the code that came with the paper: PSNR, and seconds for all images.

    The original takes one image after the other, at the settings of its denoising notebook with three scales; what it
    takes for some is counted as often as there are images, to the iteration where its averaged output is best.
    """
    config = _config(dataset, split, images, {"device": device}, task)
    resolved_device = devices.resolve(devices.candidates(device)[0])
    _threads(threads)
    from dipddpm.core.bench import original as original_bench

    comparison = original_bench.compare(
        original_bench.load(path.expanduser()), config, fitted, iterations, resolved_device
    )
    first = f"FIRST {comparison.fitted}"
    all_of = f"ALL {comparison.images}"
    table = [("", f"PSNR, {first}", f"PSNR, {all_of}", f"SECONDS, {all_of}", "RATIO", "OF THE PROCESSOR", "RATIO")]
    at = f"original, best of its average, iteration {comparison.best_at}"
    theirs, ours, spread = comparison.original, comparison.ours, comparison.spread
    table.append((at, f"{comparison.best:.2f}", "", f"{theirs.passed:.1f}", "1", f"{theirs.processor:.1f}", "1"))
    if comparison.as_good is not None:
        good, faster = comparison.as_good, comparison.ratio(comparison.as_good)
        passed = (f"{good.passed:.1f}", f"1/{faster.passed:.1f}")
        processor = (f"{good.processor:.1f}", f"1/{faster.processor:.1f}")
        table.append(("ours, until it is as good", f"{comparison.best:.2f}", "", *passed, *processor))
    faster = comparison.ratio(ours)
    passed = (f"{ours.passed:.1f} ±{spread.passed:.1f}", f"1/{faster.passed:.1f}")
    processor = (f"{ours.processor:.1f} ±{spread.processor:.1f}", f"1/{faster.processor:.1f}")
    qualities = (f"{comparison.psnr:.2f}", f"{comparison.psnr_of_all:.2f}")
    table.append(("ours, at the truth-free stop", *qualities, *passed, *processor))
    print_table(list(table))
    print(printable(f"An iteration of the original takes {comparison.milliseconds:.1f} ms for an image."))


def _config(dataset: str, split: str, images: str, more: dict[str, Any], task: str = "denoise") -> DipRun:
    settings = {"data.dataset": dataset, "images.split": split, "images.indices": images, **more}
    config = configs.build("dip", task=task, settings=settings)
    assert isinstance(config, DipRun)
    preflight.refuse(config)
    return config


def _threads(count: int) -> None:
    if count:
        import torch

        torch.set_num_threads(count)
