"""How a training goes about it, where that differs from the published one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self

from core.config.ddpm import DdpmConfig, Objective, Weighting
from core.config.section import CompileMode, Precision


@dataclass(frozen=True)
class Recipe:
    """Options of `core.ddpm.train.DdpmTraining`, see `core.config.ddpm` for what each does; the defaults do nothing."""

    objective: Objective = "eps"
    weighting: Weighting = "plain"
    label_dropout: float = 0.0
    warmup: int = 0
    decay: Literal["none", "linear", "cosine"] = "none"
    beta2: float = 0.999
    clip: float = 0.0
    stratified: bool = False
    ema: float = 0.0
    precision: Precision = "float32"
    compile: bool = False
    compile_mode: CompileMode = "default"

    @classmethod
    def from_config(cls, config: DdpmConfig) -> Self:
        """The recipe that a config asks for."""
        return cls(**{name: getattr(config, name) for name in cls.__dataclass_fields__})

    def lr_factor(self, step: int, steps: int) -> float:
        """The share of the highest learning rate at `step` (from 0) of so many."""
        rising = min(1.0, (step + 1) / (self.warmup + 1))
        gone = max(0.0, (step - self.warmup) / max(1, steps - self.warmup))
        falling = {"none": 1.0, "linear": 1 - gone, "cosine": (1 + math.cos(math.pi * gone)) / 2}
        return rising * falling[self.decay]
