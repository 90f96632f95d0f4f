"""The runs that are killed: every kind of run and every method, as small as possible but with all their steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dipddpm.core import config as configs
from dipddpm.core.runs import Run

COMMON = {"data.dataset": "fashion-mini", "device": "cpu", "threads": 1}
DIP = {
    "dip.iterations": 30,
    "dip.scales": 2,
    "dip.channels": 4,
    "dip.input_channels": 4,
    "dip.measure_every": 5,
    "dip.picture_every": 20,
    "dip.window": 5,
    "dip.patience": 8,
}
UNET = {"ddpm.network": "unet", "unet.channels": "8,8", "ddpm.timesteps": 50}
DDPM = {
    "data.train_images": 64,
    "ddpm.batch_size": 16,
    "ddpm.epochs": 4,
    "ddpm.samples": 2,
    "ddpm.sample_every": 2,
    "ddpm.sample_steps": 10,
}
PRIOR = {**COMMON, **UNET, "data.train_images": 64, "ddpm.epochs": 1, "ddpm.samples": 0}
"""The settings of the run that trains the hybrids' prior."""
HYBRID = {**DIP, "images.indices": "0-1", "dip.iterations": 16}
TASK = "inpaint:missing=0.5,sigma=5"

CASES: dict[str, dict[str, Any]] = {
    # Its epochs take seconds, so that a checkpoint costs less than 2% of them.
    "ddpm long": {
        "kind": "ddpm",
        **DDPM,
        **UNET,
        "data.train_images": 1000,
        "ddpm.batch_size": 8,
        "ddpm.hold_out": True,
    },
    "ddpm tutorial": {"kind": "ddpm", **DDPM, "ddpm.sampler": "ancestral", "ddpm.timesteps": 50},
    "ddpm unet": {
        "kind": "ddpm",
        **DDPM,
        **UNET,
        "unet.dropout": 0.1,
        "ddpm.conditional": True,
        "ddpm.precision": "bfloat16",
        "ddpm.ema": 0.99,
        "ddpm.warmup": 3,
        "ddpm.decay": "cosine",
        "ddpm.clip": 1.0,
        "ddpm.stratified": True,
        "ddpm.hold_out": True,
        "ddpm.sampler": "dpm++",
    },
    "dip": {"kind": "dip", **DIP, "images.indices": "0-2", "dip.batch": 2, "dip.average": 0.9, "dip.sgld": 0.01},
    "dip decoder": {"kind": "dip", **DIP, "images.indices": "0", "dip.network": "decoder", "dip.stop": "held-out"},
    "calibrated": {"kind": "hybrid", **HYBRID, "hybrid.iterations": 12, "hybrid.samples": 2},
    "conditioned": {
        "kind": "hybrid",
        **HYBRID,
        "hybrid.bank": 20,
        "hybrid.steps": 4,
        "hybrid.samples": 2,
        "ddpm.epochs": 2,
        "ddpm.batch_size": 8,
    },
    "degraded-only": {
        "kind": "hybrid",
        **HYBRID,
        "prior.run": "",
        "data.train_images": 20,
        "hybrid.rounds": 2,
        "hybrid.steps": 4,
        "hybrid.samples": 2,
        "ddpm.epochs": 2,
        "ddpm.batch_size": 8,
        "ddpm.samples": 2,
    },
    "guided": {"kind": "hybrid", **HYBRID, "hybrid.every": 2},
    "guided, trained": {
        "kind": "hybrid",
        **HYBRID,
        **UNET,
        "data.train_images": 64,
        "ddpm.batch_size": 16,
        "ddpm.epochs": 2,
        "prior.run": "",
    },
    "noise-fit": {"kind": "hybrid", **HYBRID, "hybrid.iterations": 12, "hybrid.fits": 2},
    "prior-init": {"kind": "hybrid", **HYBRID, "hybrid.steps": 4, "hybrid.samples": 2},
    "self-diffusion": {"kind": "hybrid", **HYBRID, "hybrid.every": 2},
    "sequential": {"kind": "hybrid", **HYBRID, "hybrid.every": 4},
    "substitution": {"kind": "hybrid", **DDPM, "ddpm.timesteps": 50, "hybrid.picture_every": 2},
    "substitution, warm": {
        "kind": "hybrid",
        **DDPM,
        "ddpm.timesteps": 50,
        "ddpm.epochs": 2,
        "hybrid.reading": "warm",
        "hybrid.steps": 2,
        "hybrid.channels": 4,
    },
    "image": {
        "kind": "image",
        **DIP,
        "picture.method": "dip",
        "picture.tile": 48,
        "picture.overlap": 8,
        "picture.trial": False,
    },
    "image, tried": {"kind": "image", "picture.method": "wavelet", "picture.tile": 48, "picture.overlap": 8},
    "restore": {
        "kind": "restore",
        **DIP,
        "restore.tasks": (TASK,),
        "restore.sets": ("fashion-mini",),
        "restore.methods": ("guided",),
        "restore.images": 2,
        "restore.seeds": 1,
    },
    "acceleration": {
        "kind": "acceleration",
        **DIP,
        "data.dataset": "fashion-mini",
        "restore.tasks": (TASK,),
        "restore.sets": ("fashion-mini",),
        "restore.methods": ("self-diffusion",),
        "restore.images": 2,
        "acceleration.nfe": "2,5",
        "acceleration.samples": "1",
        "acceleration.lle_images": 4,
    },
    "map": {
        "kind": "map",
        **DIP,
        "prior.others": (),
        "restore.tasks": (TASK,),
        "restore.sets": ("fashion-mini",),
        "restore.images": 2,
        "map.trial_samples": 1,
        "map.samples": 1,
    },
    "explanation": {
        "kind": "explanation",
        "explanation.train_images": 40,
        "explanation.test_images": 20,
        "explanation.epochs": 2,
        "explanation.seeds": 2,
        "explanation.steps": "0,1,2,4",
        "explanation.fixed": 2,
        "explanation.baseline_images": 64,
        "explanation.baseline_epochs": 1,
        "explanation.baseline_samples": 128,
        "explanation.baseline_steps": 2,
    },
}
STUDY = {
    "device": "cpu",
    "threads": 1,
    "data.dataset": "fashion-mini",
    "data.train_images": 64,
    "study.epochs": 1,
    "study.images": "0-1",
    "study.iterations": 5,
    "study.sample_steps": 1,
    **{key: value for key, value in CASES["explanation"].items() if key != "kind"},
    **{key: value for key, value in CASES["restore"].items() if key.startswith("restore.")},
}


def study(prior: Run) -> configs.AnyRun:
    """Return the config of a whole study with one hybrid in its head-to-head."""
    return configs.build("study", settings={**STUDY, "prior.run": str(prior.folder)})


def given_picture(folder: Path) -> Path:
    """Draw a noisy picture of 80x80 pixels, which is divided into four tiles, into a folder."""
    side = np.linspace(0, 1, 80)
    truth = 128 + 80 * np.sign(np.sin(9 * np.add.outer(side, side**2)))
    noisy = truth + 20 * np.random.default_rng(0).standard_normal(truth.shape)
    file = folder / "given.png"
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(file)
    return file


def build(name: str, prior: Run) -> configs.AnyRun:
    """Return the config of a case, with this prior if the case needs one."""
    settings = {**COMMON, **CASES[name]}
    kind = settings.pop("kind")
    method = name.partition(",")[0] if kind == "hybrid" else None
    if kind == "image":
        settings["images.given"] = (str(given_picture(prior.folder.parent)),)
    if kind == "restore" or (kind == "hybrid" and method not in {"self-diffusion", "substitution"}):
        settings = {"prior.run": str(prior.folder), **settings}
    task = TASK if kind == "dip" or (kind == "hybrid" and method != "substitution") else None
    task = "denoise:noise=unknown" if kind == "image" else task
    return configs.build(kind, method=method, task=task, settings=settings)
