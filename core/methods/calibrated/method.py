"""The calibrated hybrid: DIP and diffusion, weighted image by image by how well they predict held-out measurements.

The method knows neither the truth nor which domain the images are from. It has three parts:

1. Trial: a part of the measurements is held out, and candidates are made from the rest: a DIP fit, a guided DIP fit,
   diffusion that starts at the mean of these two with a little or a lot of noise added, and diffusion from pure noise.
2. Stacking: for each image, the convex combination of the candidates is chosen that best predicts the held-out part.
3. Final stages: candidates with enough weight are made again from all measurements, DIP as restarts, whose mean with
   the trial's fits is better than any single fit, and diffusion as more samples.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config.dip import DipConfig
from dipddpm.core.config.hybrid import Calibrated
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade import GaussianNoise
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.simplify import equalize_spectrum, without_impulses
from dipddpm.core.methods.calibrated.cross_fitted import CrossFittedRestorer
from dipddpm.core.methods.calibrated.splitting import hold_out_measurements
from dipddpm.core.methods.calibrated.stacking import prefer_leader, select_leading, spread_samples, stack
from dipddpm.core.methods.calibrated.staged import TITLES, Maker, Stage, StagedRestorer, weighted_sum
from dipddpm.core.methods.diffusion import DdpmRestorer
from dipddpm.core.methods.dip import DipRestorer
from dipddpm.core.methods.guided import GuidedRestorer
from dipddpm.core.methods.prior_init import Chains

DIP_KINDS = ("dip", "guided")
"""The DIP candidates: a plain fit, and a fit that is guided by the denoiser."""
DIFFUSION_KINDS = ("near", "far", "diffusion")
"""The diffusion candidates: from the DIP fits with little noise added, from the fits with much, and from pure noise."""


def calibrated(case: Case, prior: TrainedModel, options: Calibrated, dip: DipConfig) -> StagedRestorer:
    """Build the form that suits the case: cross-fitting where pixels are missing, else a single split."""
    form = CrossFittedRestorer if CrossFittedRestorer.applies_to(case) else CalibratedRestorer
    return form(case, prior, options, dip)


class CalibratedRestorer(StagedRestorer):
    """A weighted sum of candidates for each image, with stacking weights from one set of held-out measurements."""

    kinds = DIP_KINDS + DIFFUSION_KINDS

    def __init__(self, case: Case, prior: TrainedModel, options: Calibrated, dip: DipConfig) -> None:
        """Split the measurements and plan the stages. Raises UserError if a needed noise level can't be estimated."""
        super().__init__(case, prior, options, dip)
        self.split = hold_out_measurements(self.case, options.hidden, options.noise, derive(case.seed, "hold out"))
        makers: dict[str, tuple[Maker, int]] = {
            "dip": (self._dip_fit, self.dip.iterations),
            "guided": (self._guided_fit, self.dip.iterations),
            "near": (partial(self._from_fits, scale=options.near), self.chain_steps),
            "far": (partial(self._from_fits, scale=options.far), self.chain_steps),
            "diffusion": (self._from_noise, options.full_steps),
        }
        # Where the trial's fits use fewer values, the final mean leaves them out; further restarts replace them.
        restarts = options.restarts + (len(DIP_KINDS) if self.split.fewer_measurements and options.restarts else 0)
        self.plan = {
            kind: Stage(TITLES[kind], make, steps, trial=self.split.trial_case)
            for kind, (make, steps) in makers.items()
        }
        for index in range(restarts):
            self.plan[f"restart {index}"] = Stage(TITLES["guided"], *makers["guided"], wanted=self._refits)
        for kind in DIFFUSION_KINDS:
            self.plan[f"{kind} again"] = Stage(TITLES[kind], *makers[kind], wanted=partial(self.worthwhile, kind))

    def fallback_result(self, name: str) -> Tensor:
        """Return the candidate's result in the trial; for a restart, the plain DIP fit; before that fit, zeros."""
        return self.results.get(name.removesuffix(" again"), self.results.get("dip", self.zero_images))

    def subset_case(self, indices: list[int]) -> Case:
        """Return the case of the images at `indices`, without the impulses that the trial's restoration reveals."""
        assert self.weights is not None
        trial_images = weighted_sum(self.weights, torch.stack([self.results[kind] for kind in self.kinds]))
        return without_impulses(super().subset_case(indices), trial_images[indices])

    def solve_weights(self) -> Tensor:
        """Return the weights of `kinds`, (N, K): stacking, then the rule that suits the kind of split."""
        errors = self.split.errors(torch.stack([self.results[kind] for kind in self.kinds]))
        split = self.split
        weights = stack(errors, split.where.flatten(1), robust=split.robust, min_strength=split.min_pool_strength)
        if split.coarser:
            return select_leading(weights, len(DIP_KINDS))
        if split.fewer_measurements:
            return spread_samples(weights, len(DIP_KINDS))
        return prefer_leader(weights, len(DIP_KINDS)) if split.weakly_identified else weights

    def combined(self) -> Tensor:
        """Return the weighted sum of the candidates, (N, C, H, W); DIP counts only for images that are fitted again.

        Measurements without noise are reproduced exactly.
        """
        fitted = torch.where(self._refits(), self.share(*DIP_KINDS), 0.0)
        parts = [(self.share(kind), self.results.get(f"{kind} again", self.results[kind])) for kind in DIFFUSION_KINDS]
        parts.append((fitted, self._dip_mean()))
        shares = torch.stack([share for share, _ in parts])
        images = weighted_sum((shares / shares.sum(0)).T, torch.stack([images for _, images in parts]))
        case = without_impulses(self.case, images)
        degradation = case.degradation
        if not isinstance(degradation.noise, GaussianNoise) or degradation.expected_residual(case.y) is not None:
            return images
        return images + degradation.operator.pinv(case.y - degradation.operator.A(images))

    # The makers of the stages. In the trial their case lacks the held-out measurements.

    def _dip_fit(self, case: Case, indices: list[int]) -> DipRestorer:
        del indices
        return DipRestorer(equalize_spectrum(case), self.dip)

    def _guided_fit(self, case: Case, indices: list[int]) -> GuidedRestorer:
        """Build a guided DIP fit.

        In a final stage, the pull on an image is scaled by the guided fit's share of DIP's weight. Where the split
        holds out values, it is at least `options.pull`: so few values can hardly tell the two fits apart.
        """
        pull: Tensor | float = self.options.weight
        if self.weights is not None:
            pull = (self.share("guided") / self.share(*DIP_KINDS).clamp(min=1e-6))[indices] * self.options.weight
            if self.split.fewer_measurements:
                pull = pull.clamp(min=self.options.pull)
        return self.guided_fit(without_impulses(case, self.results["dip"][indices]), pull)

    def _from_fits(self, case: Case, indices: list[int], scale: float) -> Chains:
        """Build diffusion from the mean of the DIP fits so far, noised to `scale` times the fits' standard deviation.

        This is the deviation of the trial's fits; after a coarser trial, it is the deviation of the restarts.
        """
        begin, fits = self._dip_mean()[indices], self.restarts()
        if not (self.split.coarser and len(fits) > 1):
            fits = [self.results[kind] for kind in DIP_KINDS]
        spread = torch.stack(fits).var(0).flatten(1).mean(1).sqrt()
        return self.chains(without_impulses(case, begin), begin, scale * spread[indices])

    def _from_noise(self, case: Case, indices: list[int]) -> DdpmRestorer:
        return self.full_samples(without_impulses(case, self.results["dip"][indices]))

    def _refits(self) -> Tensor:
        """Return which images are fitted again from all measurements, bool (N,)."""
        if self.split.coarser:
            return self.worthwhile(*DIP_KINDS, "near", "far")
        least = self.options.least if self.split.fewer_measurements else self.options.trusted
        return self.share(*DIP_KINDS) > least

    def _dip_mean(self) -> Tensor:
        """Return the mean of the DIP fits so far, (N, C, H, W).

        For an image without restarts, this is the average of the trial's fits by their weights. For an image with
        restarts, it is the mean of the restarts; the trial's average counts as one more restart unless the trial used
        fewer or coarser measurements.
        """
        if self.weights is None:
            shares = self.case.y.new_full((2, self.case.shape[0]), 0.5)
        else:
            shares = torch.stack([self.share(kind) for kind in DIP_KINDS]) + 1e-6
            shares = shares / shares.sum(0)
        fitted = weighted_sum(shares.T, torch.stack([self.results[kind] for kind in DIP_KINDS]))
        if restarts := self.restarts():
            members = restarts if self.split.coarser or self.split.fewer_measurements else [fitted, *restarts]
            fitted = torch.where(self._refits().view(-1, 1, 1, 1), torch.stack(members).mean(0), fitted)
        return fitted
