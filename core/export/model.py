"""Export of a trained model for others: its weights, its config, and a card that describes the model and its use.

The folder is a small run folder: the program loads it like a run, and `--from FOLDER` uses it as a prior.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

from dipddpm.core import config as configs
from dipddpm.core.data.catalogue import CATALOGUE
from dipddpm.core.errors import UserError
from dipddpm.core.events import BestModelStored, DataLoaded, Message, RunStarted, SamplesEvaluated
from dipddpm.core.export.snapshot import Record
from dipddpm.core.io.sanitize import printable
from dipddpm.core.report.document import Block, BulletList, Code, Facts, Heading, Page, Text
from dipddpm.core.runs import BEST_FILE, CONFIG_FILE, trained
from dipddpm.core.runs.environment import program_version

CARD = "README.md"
HUB = {
    "fashionmnist": "zalando-datasets/fashion_mnist",
    "fashion-mini": "zalando-datasets/fashion_mnist",
    "mnist": "ylecun/mnist",
    "cifar10": "uoft-cs/cifar10",
}
"""Names of our data sets on the Hugging Face hub."""
LOAD = """
from pathlib import Path
from dipddpm.core.ddpm.model import TrainedModel
model = TrainedModel.of_run(Path("."))
""".strip()
SAMPLE = """
from dipddpm.core import images
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.solvers import solver

sampling = Sampling(model.denoiser(), solver("dpm++"), (16, *model.shape), steps=20, seed=0)
for step in sampling:
    pass
images.save_png("samples.png", images.grid(images.to_unit(sampling.xt), scale=2))
""".strip()


SHIPPED_LICENCE = "The weights ship with dipddpm under its MIT licence."
OWN_LICENCE = "The weights have no licence yet. If you trained them, choose one and enter it at the top of this file."


def refuse(record: Record) -> None:
    """Raise UserError for a run without a trained model that works on its own."""
    trained.trained_config(record.run.folder)


def write(record: Record, folder: Path) -> None:
    """Write the card, config.toml and the best model. Raises UserError if the model's file isn't the logged one."""
    sources = record.run.files(BEST_FILE)
    target = folder / BEST_FILE
    target.parent.mkdir()
    for source in (*sources, *record.run.files(CONFIG_FILE)):
        shutil.copyfile(source, folder / source.relative_to(record.run.folder))
    with target.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # A live run may have stored another best model since `record` was read.
    logged = (*record.all(BestModelStored), *Record.of(record.run).all(BestModelStored))
    if digest not in {event.sha256 for event in logged}:
        problem = f"The file of the best model of {record.run.id} differs from the model in the run's log."
        raise UserError(problem, "Copy the run again from the machine that trained it, or train the model again.")
    (folder / CARD).write_text(card(record, digest), encoding="utf-8")


def card(record: Record, sha256: str) -> str:
    """Return the model card: Markdown below a YAML head, whose values are written as JSON, a subset of YAML."""
    head = "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in _head(record).items())
    return f"---\n{head}\n---\n\n{_body(record, sha256).markdown()}"


def _head(record: Record) -> dict[str, Any]:
    """Return the fields that the hub indexes; only a shipped model has a known licence."""
    dataset = _dataset(record)
    known = CATALOGUE.get(dataset)
    results = {
        "task": {"type": "unconditional-image-generation"},
        "dataset": {"name": known.title if known else dataset, "type": HUB.get(dataset, dataset)},
        "metrics": [
            {"type": name, "name": label, "value": value}
            for name, (label, value) in _metrics(record).items()
            if math.isfinite(value)
        ],
    }
    head = {
        "library_name": "dipddpm",
        "license": "mit" if record.run.reference else "unknown",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["ddpm", "diffusion", "image-prior", "image-restoration", "safetensors"],
        "datasets": [HUB[dataset]] if dataset in HUB else [],
        "model-index": [{"name": printable(record.title), "results": [results] if results["metrics"] else []}],
    }
    return {key: value for key, value in head.items() if value}


def _body(record: Record, sha256: str) -> Page:
    config = trained.trained_config(record.run.folder)
    started, known = record.last(RunStarted), CATALOGUE.get(_dataset(record))
    about = f"A diffusion model that was trained on images of {_dataset(record)} with dipddpm {program_version()}."
    facts = {
        "run": record.run.id,
        "network": f"{config.ddpm.network}, {started.parameters:,} parameters" if started else config.ddpm.network,
        "predicts": f"{config.ddpm.objective}, {config.ddpm.timesteps} timesteps, {config.ddpm.schedule} schedule",
        "trained on": started.device_name or started.device if started else "",
        "weights": f"{BEST_FILE}, sha256 {sha256}",
    }
    blocks: list[Block] = [
        Text(about),
        Facts([(key, value) for key, value in facts.items() if value]),
        Heading("Use"),
        Text("Install dipddpm, and load the model in this folder:"),
        Code(LOAD, "python"),
        Text("Draw 16 samples with 20 evaluations of the network:"),
        Code(SAMPLE, "python"),
        Text("Use the model as the prior of restorations:"),
        Code(f"dipddpm run hybrid --from FOLDER --dataset {_dataset(record)}", "sh"),
        Text("To use the weights without dipddpm, read the tensors named network.* from the safetensors file."),
        Heading("Data"),
        BulletList([f"{d.dataset} {d.split}: {d.images:,} images, sha256 {d.sha256}" for d in record.all(DataLoaded)]),
        *([Text(f"The licence of {known.title}: {known.licence}.")] if known else []),
        Text(SHIPPED_LICENCE if record.run.reference else OWN_LICENCE),
    ]
    if warnings := [message.text for message in record.all(Message) if message.level == "warning"]:
        blocks += [Heading("Warnings of the training"), BulletList(warnings)]
    if metrics := _metrics(record):
        measurements = [(label, f"{value:.4g}") for label, value in metrics.values()]
        blocks += [Heading("Measurements"), Facts(measurements)]
    return Page(record.title, [*blocks, Heading("Config"), Code(configs.to_toml(config).strip(), "toml")])


def _dataset(record: Record) -> str:
    config = record.status.config
    return printable(record.status.summary.dataset or (config.data.dataset if config else ""), 80)


def _metrics(record: Record) -> dict[str, tuple[str, float]]:
    """Return the best loss and the scores of the samples by name, each with a label for people."""
    metrics = {}
    stored = record.all(BestModelStored)
    if losses := [event for event in stored if event.measure in {"loss", "held_out"}] or stored:
        best = losses[-1]
        on = "held-out" if best.measure == "held_out" else "training"
        if best.value is not None:
            metrics["loss"] = (f"loss of eps on {on} images, epoch {best.epoch}", best.value)
    for measured in record.all(SamplesEvaluated):
        name = printable(measured.measure, 60)
        metrics[name] = (f"{name}, {measured.protocol}, {measured.nfe} evaluations per sample", measured.value)
    return metrics
