"""The calibrated hybrid for missing pixels: every candidate is made once per fold, without the fold's held-out pixels.

A tenth of the measured pixels is too few to tell candidates apart, and holding out more would spoil the candidates. So
each fold holds out other pixels (cross-fitting: Wolpert 1992; Breiman 1996). The candidates of a fold are a slightly
guided DIP fit, diffusion from that fit with a little or a lot of noise added, and kriging. The stacking weights are
chosen for the means over the folds. Then the candidates that have enough weight are made again from all measurements.
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
from dipddpm.core.methods.calibrated.staged import TITLES, Stage, StagedRestorer, weighted_sum
from dipddpm.core.methods.classical.kriging import krige
from dipddpm.core.methods.guided import GuidedRestorer
from dipddpm.core.methods.prior_init import Chains

DIFFUSION_TRUST = 0.7
"""Weight of diffusion above which half of its final result comes from samples that start from pure noise.

Samples of few steps from the same fits have similar errors, so averaging them gains little. The trial makes no samples
from pure noise: they take five times as many steps, for much the same result as `far`.
"""


class CrossFittedRestorer(StagedRestorer):
    """A weighted sum of candidates for each image, with weights from cross-fitting over held-out pixels.

    The candidates are a DIP fit (`fit`), diffusion that starts at the fit with little noise added (`near`) or with much
    (`far`), and kriging, which uses only the correlations within the image (`kriged`).
    """

    kinds = ("fit", "near", "far", "kriged")

    def __init__(self, case: Case, prior: TrainedModel, options: Calibrated, dip: DipConfig) -> None:
        """Plan the stages; `case` must satisfy `applies_to`. Raises UserError if a noise level can't be estimated."""
        super().__init__(case, prior, options, dip)
        self.splits = folds(self.case, options.fold, options.folds, derive(case.seed, "folds"))
        scales = {"near": options.near, "far": options.far}
        trials = [(fold, split.trial_case) for fold, split in enumerate(self.splits)]
        self.plan = {
            f"fit {fold}": Stage(f"fold {fold + 1}, {TITLES['guided']}", self._fit, self.dip.iterations, trial)
            for fold, trial in trials
        }
        for kind, scale in scales.items():
            for fold, trial in trials:
                make, title = partial(self._from_fits, scale=scale, fold=fold), f"fold {fold + 1}, {TITLES[kind]}"
                self.plan[f"{kind} {fold}"] = Stage(title, make, self.chain_steps, trial)
        for index in range(options.restarts + 4 if options.restarts else 0):
            fits_again = partial(self.worthwhile, "fit")
            self.plan[f"restart {index}"] = Stage(TITLES["guided"], self._fit, self.dip.iterations, wanted=fits_again)
        for kind, scale in scales.items():
            make, again = partial(self._from_fits, scale=scale), partial(self.worthwhile, kind)
            self.plan[f"{kind} again"] = Stage(TITLES[kind], make, self.chain_steps, wanted=again)
        self.plan["from noise"] = Stage(
            TITLES["diffusion"],
            lambda case, _: self.full_samples(case),
            options.full_steps,
            wanted=self._diffusion_trusted,
        )

    @staticmethod
    def applies_to(case: Case) -> bool:
        """Return whether pixels are missing and the measured pixels contain no impulses."""
        degradation = case.degradation
        return isinstance(degradation.operator, Mask) and not isinstance(degradation.noise, SaltAndPepper)

    def combined(self) -> Tensor:
        """Return the weighted sum of each candidate's best result, (N, C, H, W)."""
        assert self.weights is not None
        return weighted_sum(self.weights, torch.stack([self._best_result(kind) for kind in self.kinds]))

    def fallback_result(self, name: str) -> Tensor:
        """Return the candidate's mean over the folds for a final stage that has trial results, else zeros."""
        if self.weights is None or name == "from noise":
            return self.zero_images
        return self._fold_mean("fit" if name.startswith("restart") else name.removesuffix(" again"))

    def solve_weights(self) -> Tensor:
        """Return the weights of `kinds`, (N, K). Kriging takes no steps, so it is done here, after the trial stages."""
        self.results |= {f"kriged {fold}": _krige_case(split.trial_case) for fold, split in enumerate(self.splits)}
        self.results["kriged again"] = _krige_case(self.case)
        candidates = torch.stack([self._fold_results(kind) for kind in self.kinds], 1)
        errors = torch.stack([split.errors(images) for split, images in zip(self.splits, candidates, strict=True)])
        where = torch.stack([split.where.flatten(1) for split in self.splits])
        # The scatter is taken over unmeasured pixels: at a measured pixel, all folds that are fitted to it agree.
        unmeasured = 1 - self.case.degradation.operator.measured(self.case.y).flatten(1)
        deviations = (candidates - candidates.mean(0)).flatten(3)
        scatter = torch.einsum("fknm,flnm,nm->nkl", deviations, deviations, unmeasured)
        scatter = scatter / ((len(deviations) - 1) * unmeasured.sum(1)).clamp(min=1).view(-1, 1, 1)
        return stack_means(errors, where, scatter)

    def _fit(self, case: Case, indices: list[int]) -> GuidedRestorer:
        del indices
        return self.guided_fit(case, self.options.pull)

    def _from_fits(self, case: Case, indices: list[int], scale: float, fold: int | None = None) -> Chains:
        """Build diffusion from a fold's fit, or for a final stage from the best fit.

        The level of the noise added is `scale` times the standard deviation of the folds' fits.
        """
        begin = self._best_result("fit") if fold is None else self.results[f"fit {fold}"]
        spread = self._fold_results("fit").var(0).flatten(1).mean(1).sqrt()
        return self.chains(case, begin[indices], scale * spread[indices])

    def _diffusion_trusted(self) -> Tensor:
        """Return for which images diffusion has more weight than `DIFFUSION_TRUST`, bool (N,)."""
        return self.share("near", "far") > DIFFUSION_TRUST

    def _fold_results(self, kind: str) -> Tensor:
        return torch.stack([self.results[f"{kind} {fold}"] for fold in range(self.options.folds)])

    def _fold_mean(self, kind: str) -> Tensor:
        return self._fold_results(kind).mean(0)

    def _best_result(self, kind: str) -> Tensor:
        """Return a candidate's best result so far, (N, C, H, W).

        Fits and kriging from all measurements replace the mean over the folds. Samples from all measurements are
        averaged with the folds' samples, and where diffusion is trusted also with samples from pure noise.
        """
        again = torch.stack(self.restarts()).mean(0) if self.restarts() else None
        if kind != "fit":
            again = self.results.get(f"{kind} again")
        if again is None:
            return self._fold_mean(kind)
        if kind in {"fit", "kriged"}:
            return again
        before = self.options.folds * self.options.trial_samples
        mean = (self.options.samples * again + before * self._fold_mean(kind)) / (self.options.samples + before)
        if "from noise" in self.results:
            both = (mean + self.results["from noise"]) / 2
            mean = torch.where(self._diffusion_trusted().view(-1, 1, 1, 1), both, mean)
        return mean


def _krige_case(case: Case) -> Tensor:
    noise = case.degradation.expected_residual(case.y)
    variance = case.y.new_zeros(len(case.y)) if noise is None else noise
    return krige(case.y, case.degradation.operator.measured(case.y), variance)
