"""The candidates of the calibrated hybrid: DIP, diffusion, and the classics that suit the case."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from dipddpm.core.degrade import BlockMean, CircularBlur, GaussianNoise, Identity, Mask, Operator
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.estimate import with_noise_level
from dipddpm.core.methods.classical.pictures import task_of
from dipddpm.core.methods.classical.table import CLASSICS

FIT, DIFFUSION = "fit", "diffusion"
TITLES = {FIT: "DIP fits guided by the prior", DIFFUSION: "diffusion"}


@dataclass(frozen=True)
class Candidates:
    """The candidates for an operator, by name, and how diffusion starts."""

    names: tuple[str, ...]
    """In the order in which they are made: diffusion may start from the fits."""
    level: float = 0.0
    """Noise on the fits from which diffusion starts, as a multiple of their spread; 0: it denoises y in one step."""


TABLE: dict[type[Operator], Candidates] = {
    Identity: Candidates((DIFFUSION, "nlm", "tv", "nl-bayes", FIT)),
    Mask: Candidates((FIT, DIFFUSION, "kriging"), level=4.0),
    CircularBlur: Candidates((FIT, DIFFUSION, "wiener"), level=4.0),
    BlockMean: Candidates((FIT, DIFFUSION, "bicubic"), level=20.0),
}
"""The candidates by the kind of operator.

Of all subsets of these, of two levels of diffusion and of Richardson-Lucy, these were the best or within 0.1 dB of it,
on six images each of the training images from number 55,200 on and of glyphs, patches and leaves from 100,000 on. They
are all that can restore the case: a method that needs an optional package isn't among them.
"""


def candidates_for(case: Case) -> Candidates:
    """Return the candidates that can restore the case; some classics can't with impulses that aren't detected."""
    operator, noise = case.degradation.operator, case.degradation.noise.kind
    candidates = TABLE[type(operator)]
    names = [n for n in candidates.names if n not in CLASSICS or CLASSICS[n].supports(task_of(operator), noise)]
    return replace(candidates, names=tuple(names))


def title_of(name: str) -> str:
    """Return the title of a candidate in messages."""
    return TITLES.get(name) or CLASSICS[name].summary


def with_known_noise(case: Case) -> Case:
    """Return the case with a noise level, an estimated one if none is known; pixels without noise become a mask's."""
    degradation = with_noise_level(case.y, case.degradation)
    exact = degradation.expected_residual(case.y) is None and isinstance(degradation.noise, GaussianNoise)
    if exact and isinstance(degradation.operator, Identity):
        degradation = replace(degradation, operator=Mask(torch.ones_like(case.y[:1, :1])))
    return replace(case, degradation=degradation)
