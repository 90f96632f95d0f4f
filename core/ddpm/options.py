"""How a training goes about it, where that differs from the published one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self

from dipddpm.core.config.base import CompileMode, Precision
from dipddpm.core.config.ddpm import DdpmConfig, Objective, Weighting


@dataclass(frozen=True)
class TrainOptions:
    """Options of `core.ddpm.training.DdpmTraining`; `core.config.ddpm` says what each does. The defaults do nothing."""

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
        progress = max(0.0, (step - self.warmup) / max(1, steps - self.warmup))
        falling = {"none": 1.0, "linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}
        return rising * falling[self.decay]
