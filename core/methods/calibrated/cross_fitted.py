"""The calibrated hybrid where pixels are missing: every candidate is made a few times, each time without other pixels.

A tenth of the measured pixels is too few to tell candidates apart, and hiding more would spoil them. So pixels are
hidden in turn (cross-fitting: Wolpert 1992; Breiman 1996). In each fold there are a DIP fit that is guided a little,
diffusion from that fit, noised a little or a lot, and what kriging makes of the pixels. The weights are those that suit
the means over the folds. Then what is worth something is made again from all measurements.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config.dip import DipConfig
from dipddpm.core.config.hybrid import Calibrated
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade import Mask, SaltAndPepper
from dipddpm.core.degrade.case import Case
from dipddpm.core.methods.calibrated.splitting import folds
from dipddpm.core.methods.calibrated.stacking import stack_means
from dipddpm.core.methods.calibrated.staged import Stage, StagedRestorer, weighted_sum
from dipddpm.core.methods.classical.kriging import krige
from dipddpm.core.methods.guided import GuidedRestorer
from dipddpm.core.methods.prior_init import Chains

DIFFUSION_TRUST = 0.7
"""Weight of diffusion above which half of it is drawn from pure noise, in the end. On trial that would take five times
as many steps, for much the same as what begins with much noise. But few steps from the same fits err alike."""


class CrossFittedRestorer(StagedRestorer):
    """A combination of candidates for each image, weighed by pixels that were hidden in turn.

    Candidates are a fit, diffusion that begins at it with little noise and with much, and the classic that knows
    nothing but the image's own correlations.
    """

    kinds = ("fit", "near", "far", "kriged")

    def __init__(self, case: Case, prior: TrainedModel, options: Calibrated, dip: DipConfig) -> None:
        """`case` must be one that this `applies_to`. Raises UserError for a noise level that can't be estimated."""
        super().__init__(case, prior, options, dip)
        self.splits = folds(self.case, options.fold, options.folds, derive(case.seed, "folds"))
        scales = {"near": options.near, "far": options.far}
        trials = [(fold, split.trial_case) for fold, split in enumerate(self.splits)]
        self.plan = {f"fit {fold}": Stage(self._fit, self.dip.iterations, trial) for fold, trial in trials}
        for kind, scale in scales.items():
            for fold, trial in trials:
                make = partial(self._from_fits, scale=scale, fold=fold)
                self.plan[f"{kind} {fold}"] = Stage(make, self.chain_steps, trial)
        for index in range(options.restarts + 4 if options.restarts else 0):
            self.plan[f"restart {index}"] = Stage(
                self._fit, self.dip.iterations, wanted=partial(self.worthwhile, "fit")
            )
        for kind, scale in scales.items():
            self.plan[f"{kind} again"] = Stage(
                partial(self._from_fits, scale=scale), self.chain_steps, wanted=partial(self.worthwhile, kind)
            )
        self.plan["from noise"] = Stage(
            lambda case, _: self.full_samples(case), options.full_steps, wanted=self._diffusion_trusted
        )

    @staticmethod
    def applies_to(case: Case) -> bool:
        """Where pixels are missing, and those that aren't can be believed."""
        degradation = case.degradation
        return isinstance(degradation.operator, Mask) and not isinstance(degradation.noise, SaltAndPepper)

    def combined(self) -> Tensor:
        """The best of each kind, in its share, (N, C, H, W)."""
        assert self.weights is not None
        return weighted_sum(self.weights, torch.stack([self._best_result(kind) for kind in self.kinds]))

    def fallback_result(self, name: str) -> Tensor:
        """The mean over folds, of what folds have."""
        if self.weights is None or name == "from noise":
            return self.zero_images
        return self._fold_mean("fit" if name.startswith("restart") else name.removesuffix(" again"))

    def solve_weights(self) -> Tensor:
        """The shares of `kinds`, (N, K); kriging takes no step, so it comes last."""
        self.results |= {f"kriged {fold}": _krige_case(split.trial_case) for fold, split in enumerate(self.splits)}
        self.results["kriged again"] = _krige_case(self.case)
        folded = torch.stack([self._fold_results(kind) for kind in self.kinds], 1)
        errors = torch.stack([split.errors(made) for split, made in zip(self.splits, folded, strict=True)])
        where = torch.stack([split.where.flatten(1) for split in self.splits])
        # How far folds are apart is seen best where nobody has measured: where some have seen a pixel they agree on it.
        unseen = 1 - self.case.degradation.operator.measured(self.case.y).flatten(1)
        deviations = (folded - folded.mean(0)).flatten(3)
        scatter = torch.einsum("fknm,flnm,nm->nkl", deviations, deviations, unseen)
        scatter = scatter / ((len(deviations) - 1) * unseen.sum(1)).clamp(min=1).view(-1, 1, 1)
        return stack_means(errors, where, scatter)

    def _fit(self, case: Case, indices: list[int]) -> GuidedRestorer:
        del indices
        return self.guided_fit(case, self.options.pull)

    def _from_fits(self, case: Case, indices: list[int], scale: float, fold: int | None = None) -> Chains:
        """Diffusion from a fold's fit, or in the end from the best, noised by how far those of the folds are apart."""
        begin = self._best_result("fit") if fold is None else self.results[f"fit {fold}"]
        spread = self._fold_results("fit").var(0).flatten(1).mean(1).sqrt()
        return self.chains(case, begin[indices], scale * spread[indices])

    def _diffusion_trusted(self) -> Tensor:
        """For which images diffusion is believed, bool (N,)."""
        return self.share("near", "far") > DIFFUSION_TRUST

    def _fold_results(self, kind: str) -> Tensor:
        return torch.stack([self.results[f"{kind} {fold}"] for fold in range(self.options.folds)])

    def _fold_mean(self, kind: str) -> Tensor:
        return self._fold_results(kind).mean(0)

    def _best_result(self, kind: str) -> Tensor:
        """The best that there is of a kind: fits that have seen all pixels, and all samples."""
        again = torch.stack(self.restarts()).mean(0) if self.restarts() else None
        if kind != "fit":
            again = self.results.get(f"{kind} again")
        if again is None:
            return self._fold_mean(kind)
        if kind in {"fit", "kriged"}:
            return again
        before = self.options.folds * self.options.trial_samples
        made = (self.options.samples * again + before * self._fold_mean(kind)) / (self.options.samples + before)
        if "from noise" in self.results:
            both = (made + self.results["from noise"]) / 2
            made = torch.where(self._diffusion_trusted().view(-1, 1, 1, 1), both, made)
        return made


def _krige_case(case: Case) -> Tensor:
    noise = case.degradation.expected_residual(case.y)
    variance = case.y.new_zeros(len(case.y)) if noise is None else noise
    return krige(case.y, case.degradation.operator.measured(case.y), variance)
