"""A run whose log holds every kind of result, as left by a worker that was killed and resumed once."""

from __future__ import annotations

import pytest
from PIL import Image

from dipddpm.core import config, events
from dipddpm.core.export.snapshot import Record
from dipddpm.core.runs import EventLog, Run, RunsFolder

HOSTILE = "<script>alert(1)</script> \x1b[31m=1+1"


@pytest.fixture
def run(runs: RunsFolder) -> Run:
    """Return a run of two epochs, the second repeated, with PSNR measurements, scores, pictures and hostile text."""
    run = runs.create(config.build("hybrid", settings={"name": HOSTILE, "data.dataset": "fashion-mini"}))
    log = EventLog(run.folder)
    log.append(
        events.RunStarted(
            kind="hybrid", method="calibrated", device="cpu", epochs=2, steps=40, parameters=9, time=100.0
        )
    )
    log.append(events.DataLoaded(dataset="fashion-mini", split="test", images=2, sha256="0" * 64, time=100.5))
    log.append(events.Step(step=10, epoch=1, loss=0.5, lr=0.001, images_per_second=100, time=101.0))
    log.append(epoch(1, 0.5))
    logged = log.size
    log.append(events.Step(step=15, epoch=2, loss=9.0, time=103.0))
    log.append(epoch(2, 9.0))
    log.append(events.RunResumed(from_step=10, from_epoch=1, from_offset=logged, time=110.0))
    log.append(events.Step(step=15, epoch=2, loss=0.3, time=111.0))
    log.append(epoch(2, 0.25))
    for number, psnr in enumerate(([20.0, 22.5], [float("inf"), 24.5], [23.0, 24.0]), 2):
        log.append(
            events.PsnrMeasured(
                step=10 * number, psnr=psnr, mean=psnr[1], loss=[0.2, float("nan")], ssim=[0.5], time=120.0 + number
            )
        )
    log.append(
        events.StopsCompared(
            step=40, rule="es-wmv", at=[30, 35], psnr=[23.5, 24.25], peak=[24.0, 24.5], peak_at=[30, 30], final=[23, 24]
        )
    )
    for name, budget_of, seconds in (("calibrated", "", 2.0), ("dip-mean", "calibrated", 2.1), ("ddpm-mean", "", 1.9)):
        log.append(
            events.RestorationScored(
                task="denoise:sigma=25",
                method=name,
                budget_of=budget_of,
                set="fashion-mini",
                psnr=[24.0 + seconds, 25.0],
                ssim=[0.5, 0.75],
                seconds=seconds,
                step=40,
            )
        )
    for file, shade, time in (("samples-10", 10, 125.0), ("restored", 90, 126.0), ("restored", 200, 130.0)):
        Image.new("L", (56, 28), shade).save(run.folder / f"images/{file}.png")
        log.append(
            events.ImageSaved(
                file=f"images/{file}.png",
                name=file.partition("-")[0],
                title=HOSTILE,
                step=30,
                panels=["degraded", HOSTILE] if file == "restored" else [],
                columns=2,
                time=time,
            )
        )
    log.append(events.ImageSaved(file="../outside.png", name="../../outside", step=30, time=130.5))
    Image.new("L", (28, 28)).save(run.folder / "../outside.png")
    log.append(events.Message(text=HOSTILE, time=131.0))
    log.append(events.RunFinished(seconds=31.0, step=40, time=131.5))
    log.close()
    return run


def epoch(number: int, loss: float) -> events.EpochFinished:
    """Return the event that ends an epoch of ten steps."""
    return events.EpochFinished(
        epoch=number, step=10 * number, loss=loss, held_out=loss + 0.125, bands=[0.5, 0.01], seconds=1, time=102.0
    )


@pytest.fixture
def record(run: Run) -> Record:
    """Return the record of the run."""
    return Record.of(run)
