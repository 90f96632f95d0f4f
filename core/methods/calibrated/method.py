"""The hybrid that knows whom to trust: DIP and diffusion, each as far as it predicts measurements kept from it.

Nothing tells it the domain of the images, and it never sees the truth. First a part of the measurements is held back,
and a few candidates are made of the rest: a DIP fit, a guided one, diffusion that begins at the mean of these, noised a
little or a lot, and diffusion from pure noise. The convex combination that best predicts what was held back says, image
by image, what each is worth. Then what is worth something is made again from all measurements: DIP as restarts, whose
mean with the fits on trial is better than any of them, and diffusion as more samples.
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
from dipddpm.core.methods.calibrated.stacking import keep_leading, prefer_leader, spread_samples, stack
from dipddpm.core.methods.calibrated.staged import Maker, Stage, StagedRestorer, weighted_sum
from dipddpm.core.methods.diffusion import DdpmRestorer
from dipddpm.core.methods.dip import DipRestorer
from dipddpm.core.methods.guided import GuidedRestorer
from dipddpm.core.methods.prior_init import Chains

DIP_KINDS = ("dip", "guided")
DIFFUSION_KINDS = ("near", "far", "diffusion")
"""Candidates by diffusion: two that begin at the fits, with little noise and with much, and one from pure noise."""


def calibrated(case: Case, prior: TrainedModel, options: Calibrated, dip: DipConfig) -> StagedRestorer:
    """The form that suits the case: by folds, where pixels are missing."""
    form = CrossFittedRestorer if CrossFittedRestorer.applies_to(case) else CalibratedRestorer
    return form(case, prior, options, dip)


class CalibratedRestorer(StagedRestorer):
    """A combination of candidates for each image, weighed by held-back measurements."""

    kinds = DIP_KINDS + DIFFUSION_KINDS

    def __init__(self, case: Case, prior: TrainedModel, options: Calibrated, dip: DipConfig) -> None:
        """Raises UserError where a noise level is needed and can't be estimated."""
        super().__init__(case, prior, options, dip)
        self.split = hold_out_measurements(self.case, options.hidden, options.noise, derive(case.seed, "hold out"))
        makers: dict[str, tuple[Maker, int]] = {
            "dip": (self._plain_fit, self.dip.iterations),
            "guided": (self._guided_fit, self.dip.iterations),
            "near": (partial(self._from_fits, scale=options.near), self.chain_steps),
            "far": (partial(self._from_fits, scale=options.far), self.chain_steps),
            "diffusion": (self._from_noise, options.full_steps),
        }
        # As many fits are averaged where those on trial don't count, for they have seen fewer values.
        restarts = options.restarts + (len(DIP_KINDS) if self.split.fewer_measurements and options.restarts else 0)
        self.plan = {kind: Stage(*makers[kind], trial=self.split.trial_case) for kind in self.kinds}
        for index in range(restarts):
            self.plan[f"restart {index}"] = Stage(*makers["guided"], wanted=self._refits)
        for kind in DIFFUSION_KINDS:
            self.plan[f"{kind} again"] = Stage(*makers[kind], wanted=partial(self.worthwhile, kind))

    def fallback_result(self, name: str) -> Tensor:
        """That of the trial."""
        return self.results.get(name.removesuffix(" again"), self.results.get("dip", self.zero_images))

    def subset_case(self, indices: list[int]) -> Case:
        """The case of some of the images, with all measurements but those that the trial shows to be impulses."""
        assert self.weights is not None
        on_trial = weighted_sum(self.weights, torch.stack([self.results[kind] for kind in self.kinds]))
        return without_impulses(super().subset_case(indices), on_trial[indices])

    def solve_weights(self) -> Tensor:
        """The shares of `kinds`, (N, K), that best predict what was held back."""
        errors = self.split.errors(torch.stack([self.results[kind] for kind in self.kinds]))
        split = self.split
        weights = stack(errors, split.where.flatten(1), robust=split.robust, least=split.min_pool_strength)
        if split.coarser:
            return keep_leading(weights, len(DIP_KINDS))
        if split.fewer_measurements:
            return spread_samples(weights, len(DIP_KINDS))
        return prefer_leader(weights, len(DIP_KINDS)) if split.weakly_identified else weights

    def combined(self) -> Tensor:
        """The candidates in their shares, without fits that were not made again: they haven't seen all measurements.

        Agrees with the measurements where these are exact.
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

    # The stages: on trial of what was not held back, then of all that was measured.

    def _plain_fit(self, case: Case, indices: list[int]) -> DipRestorer:
        del indices
        return DipRestorer(equalize_spectrum(case), self.dip)

    def _guided_fit(self, case: Case, indices: list[int]) -> GuidedRestorer:
        """Again it is guided as far as guiding was better than leaving it alone, and a little in any case where so few
        values were hidden that this is hard to tell."""
        pull: Tensor | float = self.options.weight
        if self.weights is not None:
            pull = (self.share("guided") / self.share(*DIP_KINDS).clamp(min=1e-6))[indices] * self.options.weight
            if self.split.fewer_measurements:
                pull = pull.clamp(min=self.options.pull)
        return self.guided_fit(without_impulses(case, self.results["dip"][indices]), pull)

    def _from_fits(self, case: Case, indices: list[int], scale: float) -> Chains:
        """Diffusion from the fits as far as they are made, noised by their root mean square deviation."""
        begin, restarts = self._dip_mean()[indices], self.restarts()
        if not (self.split.coarser and len(restarts) > 1):
            restarts = [self.results[kind] for kind in DIP_KINDS]
        spread = torch.stack(restarts).var(0).flatten(1).mean(1).sqrt()
        return self.chains(without_impulses(case, begin), begin, scale * spread[indices])

    def _from_noise(self, case: Case, indices: list[int]) -> DdpmRestorer:
        return self.full_samples(without_impulses(case, self.results["dip"][indices]))

    def _refits(self) -> Tensor:
        """Which images are fitted again, bool (N,)."""
        if self.split.coarser:
            return self.worthwhile(*DIP_KINDS, "near", "far")
        least = self.options.least if self.split.fewer_measurements else self.options.trusted
        return self.share(*DIP_KINDS) > least

    def _dip_mean(self) -> Tensor:
        """DIP's part: the fits on trial in their shares, and the mean of that and the restarts where there were any."""
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
