"""The calibrated hybrid where pixels are missing: every candidate is made a few times, each time without other pixels.

A tenth of the measured pixels is too few to tell candidates apart, and hiding more would spoil them. So pixels are
hidden in turn (cross-fitting: Wolpert 1992; Breiman 1996). In each fold there are a DIP fit that is guided a little,
diffusion from that fit, noised a little or a lot, and what kriging makes of the pixels. The weights are those that suit
the means over the folds. Then what is worth something is made again from all measurements.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from core.config.dip import DipConfig
from core.config.hybrid import Calibrated, Guided
from core.ddpm.trained import TrainedModel
from core.degrade import Mask, SaltAndPepper
from core.hybrid.evened import evened
from core.hybrid.guided import GuidedRestorer
from core.hybrid.hold_out import folds
from core.hybrid.kriging import kriged
from core.hybrid.prior_init import LEVELS, Chains
from core.hybrid.restorer import Case
from core.hybrid.stacking import stack_means
from core.hybrid.staged import Begin, Staged, Work
from core.seeds import derive

KINDS = ("fit", "near", "far", "kriged")
"""Candidates: a fit, diffusion that begins at it with little noise and with much, and the classic that knows nothing
but the image's own correlations."""
SURE = 0.7
"""Weight of diffusion above which half of it is drawn from pure noise, in the end. On trial that would take five times
as many steps, for much the same as what begins with much noise. But few steps from the same fits err alike."""


class CrossFittedRestorer(Staged):
    """A combination of candidates for each image, weighed by pixels that were hidden in turn.

    `weights` (N, K) are the shares of `KINDS` once all folds are done.
    """

    def __init__(self, case: Case, prior: TrainedModel, options: Calibrated, dip: DipConfig) -> None:
        """`case` must be one that this `serves`. Raises UserError for a noise level that can't be estimated."""
        super().__init__(case, prior, options, dip)
        self.splits = folds(self.case, options.fold, options.folds, derive(case.seed, "folds"))
        trial: dict[str, Begin] = {}
        for kind, begin in (
            ("fit", self._fit),
            ("near", partial(self._from_fit, scale=options.near)),
            ("far", partial(self._from_fit, scale=options.far)),
        ):
            trial |= {f"{kind} {fold}": partial(begin, fold=fold) for fold in range(options.folds)}
        restarts = options.restarts + 4 if options.restarts else 0
        self.last = list(trial)[-1]
        self.plan = trial | {f"restart {i}": self._restart for i in range(restarts)}
        self.plan |= {
            "near again": partial(self._from_fits_again, scale=options.near),
            "far again": partial(self._from_fits_again, scale=options.far),
            "from noise": self._from_noise,
        }

    @staticmethod
    def serves(case: Case) -> bool:
        """Where pixels are missing, and those that aren't can be believed."""
        degradation = case.degradation
        return isinstance(degradation.operator, Mask) and not isinstance(degradation.noise, SaltAndPepper)

    def __len__(self) -> int:
        fits = (self.options.folds + len(self._restarts())) * self.dip.iterations
        return fits + (self.options.folds + 1) * 2 * LEVELS * self.options.steps + self.options.full_steps

    @property
    def images(self) -> Tensor:
        """(N, C, H, W), in [0, 1] but not clipped: until the weights are known, the mean of what there is."""
        if self.weights is None:
            return self.mean_so_far()
        parts = torch.stack([self._made(kind) for kind in KINDS])
        return (self.weights.T[:, :, None, None, None] * parts).sum(0)

    def earlier(self, name: str) -> Tensor:
        """The mean over folds, of what folds have."""
        if self.weights is None or name == "from noise":
            return self.nothing
        return self._mean("fit" if name.startswith("restart") else name.removesuffix(" again"))

    def ended(self, name: str) -> None:
        """After the last fold the candidates are weighed."""
        if name == self.last:
            self.results |= {f"kriged {fold}": _kriged(split.seen) for fold, split in enumerate(self.splits)}
            self.results["kriged again"] = _kriged(self.case)
            self.weights = self._weigh()

    def _weigh(self) -> Tensor:
        folded = torch.stack([self._folded(kind) for kind in KINDS], 1)
        errors = torch.stack([split.errors(made) for split, made in zip(self.splits, folded, strict=True)])
        where = torch.stack([split.where.flatten(1) for split in self.splits])
        # How far folds are apart is seen best where nobody has measured: where some have seen a pixel they agree on it.
        unseen = 1 - self.case.degradation.operator.measured(self.case.y).flatten(1)
        away = (folded - folded.mean(0)).flatten(3)
        scatter = torch.einsum("fknm,flnm,nm->nkl", away, away, unseen)
        scatter = scatter / ((len(away) - 1) * unseen.sum(1)).clamp(min=1).view(-1, 1, 1)
        return stack_means(errors, where, scatter)

    # In each fold

    def _fit(self, name: str, fold: int) -> Work:
        return self._guided(self._seen(name, fold)), self.everywhere()

    def _from_fit(self, name: str, fold: int, scale: float) -> Work:
        begin, places = self.results[f"fit {fold}"], self.everywhere()
        return self._chains(self._seen(name, fold), begin, places, scale, self.options.trial_samples), places

    # From all measurements

    def _restart(self, name: str) -> Work | None:
        places = self._worth("fit")
        return (self._guided(self.some(name, places)), places) if places else None

    def _from_fits_again(self, name: str, scale: float) -> Work | None:
        places = self._worth(name.removesuffix(" again"))
        if not places:
            return None
        chains = self._chains(self.some(name, places), self._made("fit")[places], places, scale, self.options.samples)
        return chains, places

    def _from_noise(self, name: str) -> Work | None:
        places = self._sure().nonzero().flatten().tolist()
        return (self.samples(self.some(name, places), self.options.samples), places) if places else None

    def _sure(self) -> Tensor:
        """Of which images diffusion is believed, (N,)."""
        assert self.weights is not None
        return self.weights[:, [KINDS.index("near"), KINDS.index("far")]].sum(1) > SURE

    def _worth(self, kind: str) -> list[int]:
        assert self.weights is not None
        return (self.weights[:, KINDS.index(kind)] > self.options.least).nonzero().flatten().tolist()

    # What candidates have come to

    def _folded(self, kind: str) -> Tensor:
        return torch.stack([self.results[f"{kind} {fold}"] for fold in range(self.options.folds)])

    def _mean(self, kind: str) -> Tensor:
        return self._folded(kind).mean(0)

    def _restarts(self) -> list[str]:
        return [name for name in self.plan if name.startswith("restart")]

    def _made(self, kind: str) -> Tensor:
        """The best that there is of a kind: fits that have seen all pixels, and all samples."""
        if kind == "fit":
            fits = [self.results[name] for name in self._restarts() if name in self.results]
            return torch.stack(fits).mean(0) if fits else self._mean(kind)
        again = self.results.get(f"{kind} again")
        if again is None:
            return self._mean(kind)
        if kind == "kriged":
            return again
        before = self.options.folds * self.options.trial_samples
        made = (self.options.samples * again + before * self._mean(kind)) / (self.options.samples + before)
        if "from noise" in self.results:
            both = (made + self.results["from noise"]) / 2
            made = torch.where(self._sure().view(-1, 1, 1, 1), both, made)
        return made

    # The work

    def _seen(self, name: str, fold: int) -> Case:
        return replace(self.splits[fold].seen, seed=derive(self.case.seed, name))

    def _guided(self, case: Case) -> GuidedRestorer:
        pull = case.y.new_full((len(case.y),), self.options.pull)
        return GuidedRestorer(evened(case), self.prior, Guided(weight=self.options.weight), self.dip, weights=pull)

    def _chains(self, case: Case, begin: Tensor, places: list[int], scale: float, samples: int) -> Chains:
        """From fits, noised by how far those of the folds are apart."""
        spread = self._folded("fit").var(0).flatten(1).mean(1).sqrt()[places]
        return self.chains(case, begin, scale * spread, samples)


def _kriged(case: Case) -> Tensor:
    noise = case.degradation.expected_residual(case.y)
    variance = case.y.new_zeros(len(case.y)) if noise is None else noise
    return kriged(case.y, case.degradation.operator.measured(case.y), variance)
