"""Make the reference run `leaves` from a training by `scripts.train_leaves_prior`.

    python -m scripts.make_leaves_run FOLDER

The run holds the averaged weights, and a `Step` and an epoch for each line of the training's log, so that lists and
curves show it like any other run.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.compute import checkpoint, devices
from dipddpm.core.config import DataConfig, DdpmRun, UNetConfig
from dipddpm.core.data import leaves
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.solvers import solver
from dipddpm.core.images import picture, save_png, to_unit
from dipddpm.core.io import atomic
from dipddpm.core.runs import (
    BEST_FILE,
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    EventLog,
    creation,
    environment,
    reference,
    summary,
    trained,
)
from scripts import train_leaves_prior as training

PICTURES, NFE = 16, 20
"""The number of drawn patches and of samples in the run's pictures, and the evaluations for a sample."""


def make(source: Path, folder: Path = reference.FOLDER / reference.LEAVES) -> None:
    """Write the run folder, in place of an older one."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in (source / "log.jsonl").read_text().splitlines()]
    state = checkpoint.load_state(source / "state.safetensors")
    network = training.untrained_network()
    network.load_state_dict(state["ema"]["network"])
    epochs = len(rows)
    config = DdpmRun(
        name="patches of dead leaves",
        data=DataConfig(dataset=trained.LEAVES, train_images=training.LOG_EVERY * training.OPTIONS.batch_size),
        ddpm=msgspec.structs.replace(training.OPTIONS, epochs=epochs),
        unet=UNetConfig(channels=",".join(map(str, training.CHANNELS)), attention=0),
    )
    shutil.rmtree(folder, ignore_errors=True)
    (folder / BEST_FILE).parent.mkdir(parents=True)
    atomic.write_atomic(folder / CONFIG_FILE, configs.to_toml(config).encode())
    sha256 = checkpoint.save(folder / BEST_FILE, {}, network)
    name = devices.describe(torch.device("cpu"))
    facts = environment.collect("cpu", name, 2)
    facts = msgspec.structs.replace(facts, host="", command="", git="", system=facts.system.partition("-")[0])
    atomic.write_atomic(folder / ENVIRONMENT_FILE, msgspec.json.format(msgspec.json.encode(facts)) + b"\n")
    log, began = EventLog(folder), creation.created(folder)
    images = training.LOG_EVERY * training.OPTIONS.batch_size
    parameters = sum(weights.numel() for weights in network.parameters())

    def append(event: events.Event, time: float) -> None:
        log.append(msgspec.structs.replace(event, time=time))

    append(
        events.RunStarted(
            kind="ddpm", method="unet", device="cpu", device_name=name,
            epochs=epochs, steps=rows[-1]["step"], images=images, parameters=parameters,
        ),
        began,
    )  # fmt: skip
    append(events.DataLoaded(dataset=trained.LEAVES, split="drawn", images=images, sha256=""), began)
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    drawn = leaves.patches(rng, [leaves.dead_leaves(rng) for _ in range(PICTURES)], PICTURES, training.SIDE)
    save_png(folder / "images" / "first-batch.png", picture(torch.from_numpy(drawn), 4))
    append(events.ImageSaved(file="images/first-batch.png", name="first-batch", title="Drawn patches"), began)
    last = 0.0
    for epoch, row in enumerate(rows, 1):
        step, seconds = row["step"], row["seconds"] - last
        last = row["seconds"]
        if epoch == epochs:
            append(
                events.BestModelStored(
                    step=step, epoch=epoch, file=str(BEST_FILE), sha256=sha256, value=row["loss"], measure="loss"
                ),
                began + row["seconds"],
            )
        finished = events.EpochFinished(
            epoch=epoch, step=step, loss=row["loss"], best=epoch == epochs, seconds=seconds,
            images_per_second=images / max(seconds, 1e-3),
        )  # fmt: skip
        append(finished, began + row["seconds"])
        append(
            events.Step(step=step, epoch=epoch, loss=row["loss"], images_per_second=images / max(seconds, 1e-3)),
            began + row["seconds"],
        )
    denoiser = TrainedModel.of_run(folder).denoiser()
    sampling = Sampling(denoiser, solver("dpm++"), (PICTURES, 3, training.SIDE, training.SIDE), steps=NFE, seed=0)
    for _ in sampling:
        pass
    save_png(folder / "images" / "samples.png", picture(to_unit(sampling.xt), 4))
    append(
        events.ImageSaved(
            file="images/samples.png", name="samples", title=f"Samples (nfe {NFE})", step=rows[-1]["step"]
        ),
        began + rows[-1]["seconds"],
    )
    measured = ", ".join(f"{name}: {value:.2f} dB" for name, value in rows[-1].items() if " " in name)
    append(
        events.Message(text=f"PSNR of one-step denoising at the end, by set and sigma: {measured}"),
        began + rows[-1]["seconds"],
    )
    append(events.RunFinished(step=rows[-1]["step"], seconds=rows[-1]["seconds"]), began + rows[-1]["seconds"])
    log.close()
    summary.write(folder, summary.rebuild(folder))


def main() -> None:
    """Make the run."""
    parser = argparse.ArgumentParser(prog="python -m scripts.make_leaves_run")
    parser.add_argument("folder", type=Path)
    make(parser.parse_args().folder)


if __name__ == "__main__":
    main()
