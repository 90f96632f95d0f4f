"""A trained model to be given to others: its weights, its config, and a card that says what it is and how to use it.

The folder is a run's folder in small, so it is loaded as one, and `--from FOLDER` takes it for a prior.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dipddpm.core import config as configs
from dipddpm.core.data.catalogue import CATALOGUE
from dipddpm.core.errors import UserError
from dipddpm.core.events import BestModelStored, DataLoaded, RunStarted, SamplesEvaluated
from dipddpm.core.export.snapshot import Record
from dipddpm.core.io.sanitize import printable
from dipddpm.core.report.document import Block, BulletList, Code, Facts, Heading, Page, Text
from dipddpm.core.runs import BEST_FILE, CONFIG_FILE, trained

CARD = "README.md"
HUB = {
    "fashionmnist": "zalando-datasets/fashion_mnist",
    "fashion-mini": "zalando-datasets/fashion_mnist",
    "mnist": "ylecun/mnist",
    "cifar10": "uoft-cs/cifar10",
}
"""What the Hugging Face hub calls our data sets, where it has them."""
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


SHIPPED_LICENCE = "The weights ship with dipddpm, under its licence, MIT."
OWN_LICENCE = "The licence of the weights is for whoever trained them to give: write it into the head."


def refuse(record: Record) -> None:
    """Raise UserError for a run without a trained model that can be used by itself."""
    trained.trained_config(record.run.folder)


def write(record: Record, folder: Path) -> None:
    """The card, config.toml and the best model's file. Raises UserError where that file isn't the one in the log."""
    sources = record.run.files(BEST_FILE)
    target = folder / BEST_FILE
    target.parent.mkdir()
    for source in (*sources, *record.run.files(CONFIG_FILE)):
        shutil.copyfile(source, folder / source.relative_to(record.run.folder))
    with target.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # A run that goes on may have stored another one since it was read.
    logged = (*record.all(BestModelStored), *Record.of(record.run).all(BestModelStored))
    if digest not in {event.sha256 for event in logged}:
        problem = f"The best model of {record.run.id} is not the one that its log tells of."
        raise UserError(problem, "Copy the run again from where it was made, or train it anew.")
    (folder / CARD).write_text(card(record, digest), encoding="utf-8")


def card(record: Record, sha256: str) -> str:
    """The model card: a head in YAML, of which JSON is a part, and Markdown below it."""
    head = "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in _head(record).items())
    return f"---\n{head}\n---\n\n{_body(record, sha256).markdown()}"


def _head(record: Record) -> dict[str, Any]:
    """What the hub indexes; a licence is given by whoever trained the model, but for those that ship."""
    dataset = _dataset(record)
    known = CATALOGUE.get(dataset)
    results = {
        "task": {"type": "unconditional-image-generation"},
        "dataset": {"name": known.title if known else dataset, "type": HUB.get(dataset, dataset)},
        "metrics": [
            {"type": name, "name": words, "value": value}
            for name, (words, value) in _metrics(record).items()
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
    about = f"A diffusion model of images, trained on {_dataset(record)} with dipddpm {version('dipddpm')}."
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
        Text("In this folder, with dipddpm installed:"),
        Code(LOAD, "python"),
        Text("And 16 samples in 20 evaluations of the network:"),
        Code(SAMPLE, "python"),
        Text("It can be the prior of restorations, too:"),
        Code(f"dipddpm run hybrid --from FOLDER --dataset {_dataset(record)}", "sh"),
        Text("Without dipddpm: the tensors under network. in the safetensors file are the weights."),
        Heading("Data"),
        BulletList([f"{d.dataset} {d.split}: {d.images:,} images, sha256 {d.sha256}" for d in record.all(DataLoaded)]),
        *([Text(f"The licence of {known.title}: {known.licence}.")] if known else []),
        Text(SHIPPED_LICENCE if record.run.reference else OWN_LICENCE),
    ]
    if metrics := _metrics(record):
        facts_measured = [(words, f"{value:.4g}") for words, value in metrics.values()]
        blocks += [Heading("Measured"), Facts(facts_measured)]
    return Page(record.title, [*blocks, Heading("Config"), Code(configs.to_toml(config).strip(), "toml")])


def _dataset(record: Record) -> str:
    config = record.status.config
    return printable(record.status.summary.dataset or (config.data.dataset if config else ""), 80)


def _metrics(record: Record) -> dict[str, tuple[str, float]]:
    """Numbers by name, with words for people: the best loss and what samples were worth."""
    metrics = {}
    stored = record.all(BestModelStored)
    if losses := [event for event in stored if event.measure in {"loss", "held_out"}] or stored:
        best = losses[-1]
        on = "held-out" if best.measure == "held_out" else "training"
        metrics["loss"] = (f"loss of eps on {on} images, epoch {best.epoch}", best.value)
    for measured in record.all(SamplesEvaluated):
        name = printable(measured.measure, 60)
        metrics[name] = (f"{name}, {measured.protocol}, {measured.nfe} evaluations a sample", measured.value)
    return metrics
