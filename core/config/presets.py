"""The presets: named settings for `--preset`, by kind of run."""

from __future__ import annotations

from typing import Any

UNET: dict[str, Any] = {
    "ddpm.network": "unet",
    # A network that predicts v starts at the identity at every noise level; the loss is still weighted as for eps.
    "ddpm.objective": "v",
    "ddpm.weighting": "eps",
    "ddpm.hold_out": True,
    "ddpm.lr": 2e-3,
    "ddpm.decay": "linear",
    "ddpm.beta2": 0.99,
    "ddpm.clip": 1.0,
    "ddpm.stratified": True,
    "ddpm.ema": 0.999,
    "ddpm.sample_every": 1,
    # In so few steps, fresh noise makes better samples; see docs/ddpm.md.
    "ddpm.sampler": "dpm++",
    "ddpm.eta": 1.0,
    "ddpm.sample_steps": 20,
}
"""The settings that all presets of our U-Net share."""
CPU: dict[str, Any] = {
    **UNET,
    "unet.channels": "48,96",
    "ddpm.epochs": 20,
    # Small batches learn far more from the same number of images, and a CPU processes them about as fast.
    "ddpm.batch_size": 32,
    "ddpm.warmup": 500,
}
GPU: dict[str, Any] = {
    **UNET,
    "unet.channels": "64,128,256",
    "unet.blocks": 2,
    "unet.attention": 2,
    "unet.patch": 1,
    "unet.dropout": 0.1,
    "ddpm.epochs": 100,
    "ddpm.batch_size": 256,
    "ddpm.lr": 5e-4,
    "ddpm.warmup": 1000,
    "ddpm.ema": 0.9995,
    "ddpm.precision": "bfloat16",
    "ddpm.compile": True,
    "ddpm.sample_every": 5,
}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "dip": {
        "fashion": {},
        "classic": {
            "dip.iterations": 3000,
            "dip.scales": 5,
            "dip.channels": 128,
            "dip.upsampling": "bilinear",
            "dip.input_noise": 1 / 30,
            "dip.lr": 0.01,
            "dip.window": 100,
            "dip.patience": 1000,
            "dip.measure_every": 50,
            "dip.picture_every": 500,
        },
        "quick": {"dip.iterations": 150, "images.indices": "0-3"},
    },
    "ddpm": {
        "tutorial": {},
        "cpu": CPU,
        "gpu": GPU,
        "quick": {"data.dataset": "fashion-mini", "ddpm.epochs": 3},
    },
    "hybrid": {
        "reference": {},
        "cpu": {**CPU, "prior.run": "", "ddpm.samples": 0},
        "gpu": {**GPU, "prior.run": "", "ddpm.samples": 0},
        "published": {"hybrid.method": "substitution"},
        "conditioned": {
            "hybrid.method": "conditioned",
            "ddpm.network": "unet",
            "ddpm.objective": "v",
            "ddpm.epochs": 40,
            "ddpm.batch_size": 32,
            "ddpm.lr": 2e-3,
            "ddpm.decay": "cosine",
            "ddpm.warmup": 50,
            "ddpm.clip": 1.0,
            "ddpm.stratified": True,
            "ddpm.ema": 0.99,
        },
        "degraded-only": {
            **CPU,
            "hybrid.method": "degraded-only",
            "prior.run": "",
            "data.dataset": "fashion-mini",
            # Not among the training images, which the last round restores too.
            "images.indices": "0-199",
            "unet.channels": "32,64",
            "ddpm.hold_out": False,  # clean images to select a model on are what this method does without
            "ddpm.epochs": 30,
            "ddpm.warmup": 100,
            "ddpm.ema": 0.995,
            "ddpm.evaluate": 1000,
        },
        "quick": {"data.dataset": "fashion-mini", "images.indices": "0-3"},
    },
    "restore": {
        "full": {},
        # One domain where the diffusion model is better than DIP, and one where DIP is better.
        "quick": {
            "restore.tasks": ("denoise:sigma=50",),
            "restore.sets": ("fashion-mini", "patches"),
            "restore.methods": ("calibrated",),
            "restore.controls": False,
            "restore.images": 8,
            "restore.seeds": 1,
        },
    },
    "acceleration": {
        "full": {},
        "quick": {
            "restore.tasks": ("inpaint:missing=0.7,sigma=5",),
            "restore.sets": ("fashion-mini", "patches"),
            "restore.methods": ("prior-init",),
            "restore.images": 4,
            "acceleration.nfe": "5,20,100",
            "acceleration.lle_images": 20,
        },
    },
    "map": {
        "full": {},
        # One prior of the images' own domain and one of no clean image, one informative mask and one box.
        "quick": {
            "prior.others": ("reference-leaves",),
            "restore.tasks": ("inpaint:missing=0.7,sigma=5", "inpaint:box=12,sigma=5"),
            "restore.sets": ("fashion-mini", "patches"),
            "restore.images": 4,
            "map.samples": 2,
        },
    },
    "image": {"full": {"picture.out": "."}},
    "explanation": {"full": {}},
    "study": {
        "published": {},
        "quick": {
            "data.dataset": "fashion-mini",
            "study.epochs": 10,
            "study.images": "0-3",
            "study.sample_steps": 50,
            "study.iterations": 200,
            "explanation.train_images": 320,
            "explanation.test_images": 100,
            "explanation.epochs": 4,
            "explanation.steps": "0,20,50,100,200",
            "explanation.baseline_images": 1000,
            "explanation.baseline_epochs": 4,
            "explanation.baseline_samples": 128,
            "explanation.baseline_steps": 25,
            "restore.tasks": ("inpaint:missing=0.7,sigma=5", "denoise:sigma=50,blind=true"),
            "restore.sets": ("fashion-mini", "patches"),
            "restore.methods": ("calibrated",),
            "restore.images": 4,
            "restore.seeds": 1,
        },
    },
}
"""kind -> preset -> dotted key -> value. The first preset of a kind is its default."""
