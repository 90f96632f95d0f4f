"""Benchmark of the starts of `degraded-only`: what each one is worth after some rounds of expectation maximisation.

All starts train on the same measurements for the same number of steps, and restore the same held-out test images. The
reference is trained on the true images of these measurements, with the same steps and optimiser.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
import typer
from torch import Tensor

from benchmarks.options import Device, Out, Threads, resolve
from dipddpm.core.compute import checkpoint
from dipddpm.core.config import HybridRun, build
from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.intervals import interval
from dipddpm.core.events import Item, Message, PsnrMeasured, SamplesEvaluated, StageStarted, Step
from dipddpm.core.experiments.degraded_only.experiment import build_training, split_clean
from dipddpm.core.experiments.degraded_only.training import DegradedOnlyTraining
from dipddpm.core.experiments.given import load_batch
from dipddpm.core.io import atomic
from dipddpm.tui.cli.output import print_table

TRUE = "true images"
"""The reference, which trains on the true images in each round."""
STARTS = ("dip", "classic", "clean", "pinv", TRUE)
AGAINST = "dip"
"""The start that the others are compared with."""
COLUMNS = ("start", "round", "training psnr", "psnr", "minus dip", "lower", "upper", "frechet", "kernel", "cpu seconds")
STORE_SECONDS = 60
"""Seconds between two stores of the state."""

Result: TypeAlias = dict[str, Any]
"""The result of a round: `training`, `psnr` of each held-out image, `frechet`, `kernel`, and `seconds` so far."""


class ReferenceTraining(DegradedOnlyTraining):
    """The same training on the true images: what is restored in a round is measured, but never trained on."""

    def replace_images(self, drawn: Tensor) -> None:
        """Train the next round on the true images."""
        assert self.training.truth is not None
        super().replace_images(self.training.truth.to(drawn))


def measure(
    starts: Annotated[str, typer.Option(help="Starts, separated by commas.")] = ",".join(STARTS),
    *,
    task: Annotated[str, typer.Option(help="The degradation.")] = "inpaint:missing=0.5,sigma=10",
    images: Annotated[int, typer.Option(min=20, help="Degraded training images.")] = 1950,
    held_out: Annotated[int, typer.Option(min=2, help="Test images that each round restores.")] = 200,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds.")] = 3,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="An option of the preset degraded-only; repeatable."),
    ] = None,
    out: Out = Path("build/degraded-only"),
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Compare the starts of degraded-only by PSNR on held-out images and the Frechet distance, round by round.

    A start that is interrupted goes on where it was: its state is stored every minute, and the table of all starts,
    degraded-only.csv, after each round.
    """
    resolved = resolve(device, threads)
    given = dict(_pair(text) for text in setting or [])
    results: dict[str, dict[int, Result]] = {}
    for start in starts.split(","):
        if start not in STARTS:
            raise UserError(f"There is no start {start!r}.", f"Choose of: {', '.join(STARTS)}.")
        settings = {
            "data.train_images": images,
            "images.indices": f"0-{held_out - 1}",
            "hybrid.rounds": rounds,
            "hybrid.start": "pinv" if start == TRUE else start,
            **given,
        }
        config = build("hybrid", preset="degraded-only", task=task, settings=settings)
        assert isinstance(config, HybridRun)
        train, clean = split_clean(config)
        made = ReferenceTraining if start == TRUE else DegradedOnlyTraining
        batch = load_batch(config, train.images.shape[1])
        training = build_training(config, train, batch, resolved, clean=clean, training_class=made)
        path = out / f"{start.replace(' ', '-')}.safetensors"
        for results[start] in run(training, path, describe(config)):
            save(out / "degraded-only.csv", results)
    save(out / "degraded-only.csv", results)
    print_table([tuple(name.upper() for name in COLUMNS), *rows(results)])
    print(f"{task}, {images:,} training images, PSNR of {held_out} held-out images, 95% bounds")


def run(training: DegradedOnlyTraining, path: Path, described: str) -> Iterator[dict[int, Result]]:
    """Train, or go on from the state in `path`; yield all results so far at the beginning and after each round.

    Raises UserError for a state of other settings.
    """
    results: dict[int, Result] = {}
    seconds = 0.0
    if path.is_file():
        state = checkpoint.load_state(path, training.device)
        if state["config"] != described:
            raise UserError(f"{path} is of other settings.", "Choose another --out, or the same settings.")
        training.load_state_dict(state["training"])
        results = {row["round"]: row for row in state["results"]}
        seconds = state["seconds"]
    path.parent.mkdir(parents=True, exist_ok=True)
    yield dict(results)
    began, stored_at, is_new = time.process_time(), time.monotonic(), False
    for item in training:
        number = training.round
        if isinstance(item, StageStarted | Message):
            print(time.strftime("%H:%M:%S"), getattr(item, "title", getattr(item, "text", "")), flush=True)
        if values := result(item):
            results.setdefault(number, {"round": number}).update(values)
        if isinstance(item, Message) and item.text.startswith(("Start", "Round")):
            row = training.rounds.done[number]
            results[number] |= {"training": row.training, "seconds": seconds + time.process_time() - began}
            is_new = True
        if isinstance(item, Step) and (is_new or time.monotonic() - stored_at > STORE_SECONDS):
            total = seconds + time.process_time() - began
            state = {"training": training.state_dict(), "results": list(results.values()), "seconds": total}
            checkpoint.save(path, state | {"config": described})
            stored_at = time.monotonic()
            if is_new:
                yield dict(results)
            is_new = False


def describe(config: HybridRun) -> str:
    """Return the config as text, without what doesn't change the results."""
    return str(msgspec.to_builtins(msgspec.structs.replace(config, threads=0, device="auto")))


def result(item: Item) -> Result:
    """Return what an item says about the quality in its round."""
    match item:
        case PsnrMeasured():
            return {"psnr": item.psnr}
        case SamplesEvaluated():
            return {item.measure.split()[0].lower(): item.value}
    return {}


def rows(results: dict[str, dict[int, Result]]) -> list[tuple[str, ...]]:
    """Return the rows of the table as text: for each start and finished round, with the gain over `AGAINST`."""
    table = []
    for start, of_start in results.items():
        for number, row in sorted(of_start.items()):
            if "seconds" not in row:  # the round isn't finished
                continue
            other = results.get(AGAINST, {}).get(number)
            gain: tuple[float | None, ...] = (None, None, None)
            if other and "psnr" in other and start != AGAINST:
                gain = interval([a - b for a, b in zip(row["psnr"], other["psnr"], strict=True)])[:3]
            quality = (row.get("training"), sum(row["psnr"]) / len(row["psnr"]), *gain)
            cost = (_text(row.get("frechet"), 3), _text(row.get("kernel"), 4), _text(row["seconds"], 0))
            table.append((start, str(number), *(_text(value, 3) for value in quality), *cost))
    return table


def save(path: Path, results: dict[str, dict[int, Result]]) -> None:
    """Write the table."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([COLUMNS, *rows(results)])
    atomic.write_atomic(path, stream.getvalue().encode())


def _text(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--set {text} has no value.", "Write it as NAME=VALUE.")
    return name, value
