"""The hybrid that knows whom to trust: DIP and diffusion, each as far as it predicts measurements kept from it.

Nothing tells it the domain of the images, and it never sees the truth. First a part of the measurements is held back,
and a few candidates are made of the rest: a DIP fit, a guided one, diffusion that begins at the mean of these, noised a
little or a lot, and diffusion from pure noise. The convex combination that best predicts what was held back says, image
by image, what each is worth. Then what is worth something is made again from all measurements: DIP as restarts, whose
mean with the fits on trial is better than any of them, and diffusion as more samples.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config.dip import DipConfig
from dipddpm.core.config.hybrid import Calibrated, Guided
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade import GaussianNoise
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.equalize import equalize_spectrum
from dipddpm.core.degrade.impulses import without_impulses
from dipddpm.core.methods.base import Restorer
from dipddpm.core.methods.calibrated.cross_fitted import CrossFittedRestorer
from dipddpm.core.methods.calibrated.splitting import hold_out_measurements
from dipddpm.core.methods.calibrated.stacking import stack
from dipddpm.core.methods.calibrated.staged import StagedRestorer, StageStart, StageWork
from dipddpm.core.methods.calibrated.weight_rules import keep_leading, prefer_leader, spread_samples
from dipddpm.core.methods.dip import DipRestorer
from dipddpm.core.methods.guided import GuidedRestorer
from dipddpm.core.methods.prior_init import LEVELS, Chains

DIP_KINDS = ("dip", "guided")
DIFFUSION_KINDS = ("near", "far", "diffusion")
"""Candidates by diffusion: two that begin at the fits, with little noise and with much, and one from pure noise."""


class CalibratedRestorer(StagedRestorer):
    """A combination of candidates for each image, weighed by held-back measurements.

    Works in stages, each a restorer of its own; `weights` (N, K) are the shares of `kinds` once the trial is over.
    """

    def __init__(self, case: Case, prior: TrainedModel, options: Calibrated, dip: DipConfig) -> None:
        """Raises UserError where a noise level is needed and can't be estimated."""
        super().__init__(case, prior, options, dip)
        self.split = hold_out_measurements(self.case, options.hidden, options.noise, derive(case.seed, "hold out"))
        trials: dict[str, StageStart] = {
            "dip": self._try_dip,
            "guided": self._try_guided,
            "near": partial(self._try_from_fits, scale=options.near),
            "far": partial(self._try_from_fits, scale=options.far),
            "diffusion": self._try_diffusion,
        }
        self.kinds = list(trials)
        # As many fits are averaged where those on trial don't count, for they have seen fewer values.
        restarts = options.restarts + (len(DIP_KINDS) if self.split.fewer_measurements and options.restarts else 0)
        self.plan = trials | {f"restart {i}": self._restart for i in range(restarts)}
        self.plan |= {
            "near again": partial(self._from_fits_again, scale=options.near),
            "far again": partial(self._from_fits_again, scale=options.far),
            "diffusion again": self._diffusion_again,
        }

    @classmethod
    def for_case(cls, case: Case, prior: TrainedModel | None, options: Calibrated, dip: DipConfig) -> Restorer:
        """As every method is made: by folds, where pixels are missing."""
        assert prior is not None
        if CrossFittedRestorer.applies_to(case):
            return CrossFittedRestorer(case, prior, options, dip)
        return cls(case, prior, options, dip)

    def __len__(self) -> int:
        restarts = sum(name.startswith("restart") for name in self.plan)
        fits = (len(DIP_KINDS) + restarts) * self.dip.iterations
        return fits + 2 * (2 * LEVELS * self.options.steps + self.options.full_steps)

    def fallback_result(self, name: str) -> Tensor:
        """That of the trial."""
        return self.results.get(name.removesuffix(" again"), self.results.get("dip", self.zero_images))

    def on_stage_end(self, name: str) -> None:
        """With the last candidate the trial is over."""
        if name == "diffusion":
            self.weights = self._solve_weights()

    @property
    def images(self) -> Tensor:
        """(N, C, H, W), in [0, 1] but not clipped: until the trial is over, the mean of what there is."""
        if self.weights is None:
            return self.mean_so_far()
        return self._enforce_consistency(self._combined())

    # The trial: every candidate is made of what was not held back.

    def _trial_case(self, name: str) -> Case:
        return replace(self.split.trial_case, seed=derive(self.case.seed, name))

    def _try_dip(self, name: str) -> StageWork:
        return DipRestorer(equalize_spectrum(self._trial_case(name)), self.dip), self.all_indices()

    def _try_guided(self, name: str) -> StageWork:
        case = without_impulses(self._trial_case(name), self.results["dip"])
        options = Guided(weight=self.options.weight)
        return GuidedRestorer(equalize_spectrum(case), self.prior, options, self.dip), self.all_indices()

    def _try_from_fits(self, name: str, scale: float) -> StageWork:
        indices = self.all_indices()
        return self._chains(self._trial_case(name), indices, scale, self.options.trial_samples), indices

    def _try_diffusion(self, name: str) -> StageWork:
        case = without_impulses(self._trial_case(name), self.results["dip"])
        return self.samples(case, self.options.trial_samples), self.all_indices()

    def _solve_weights(self) -> Tensor:
        """The shares of `kinds`, (N, K), that best predict what was held back."""
        errors = self.split.errors(torch.stack([self.results[kind] for kind in self.kinds]))
        split = self.split
        weights = stack(errors, split.where.flatten(1), robust=split.robust, least=split.min_pool_strength)
        if split.coarser:
            return keep_leading(weights, len(DIP_KINDS))
        if split.fewer_measurements:
            return spread_samples(weights, len(DIP_KINDS))
        return prefer_leader(weights, len(DIP_KINDS)) if split.weakly_identified else weights

    # What is worth something is made again from all that was measured.

    def _share(self, *kinds: str) -> Tensor:
        """Of the combination, for each image, (N,)."""
        assert self.weights is not None
        return self.weights[:, [self.kinds.index(kind) for kind in kinds]].sum(1)

    def _indices_above(self, share: Tensor, least: float) -> list[int]:
        return (share > least).nonzero().flatten().tolist()

    def _refit_indices(self) -> list[int]:
        if self.split.coarser:
            return self._indices_above(self._share(*DIP_KINDS, "near", "far"), self.options.least)
        return self._indices_above(
            self._share(*DIP_KINDS), self.options.least if self.split.fewer_measurements else self.options.trusted
        )

    def _subset_case(self, name: str, indices: list[int]) -> Case:
        """The case of some of the images, from all measurements but those that the trial shows to be impulses."""
        return without_impulses(self.subset_case(name, indices), self._trial_combination()[indices])

    def _trial_combination(self) -> Tensor:
        """The combination of the candidates as they are, before any is made again."""
        assert self.weights is not None
        results = torch.stack([self.results[kind] for kind in self.kinds])
        return (self.weights.T[:, :, None, None, None] * results).sum(0)

    def _restart(self, name: str) -> StageWork | None:
        """A DIP fit that is guided as far as guiding was better than leaving it alone, and a little in any case where
        so few values were hidden that this is hard to tell."""
        indices = self._refit_indices()
        if not indices:
            return None
        pull = (self._share("guided") / self._share(*DIP_KINDS).clamp(min=1e-6))[indices] * self.options.weight
        if self.split.fewer_measurements:
            pull = pull.clamp(min=self.options.pull)
        options = Guided(weight=self.options.weight)
        return GuidedRestorer(
            equalize_spectrum(self._subset_case(name, indices)), self.prior, options, self.dip, weights=pull
        ), indices

    def _from_fits_again(self, name: str, scale: float) -> StageWork | None:
        indices = self._indices_above(self._share(name.removesuffix(" again")), self.options.least)
        if not indices:
            return None
        return self._chains(self._subset_case(name, indices), indices, scale, self.options.samples), indices

    def _diffusion_again(self, name: str) -> StageWork | None:
        indices = self._indices_above(self._share("diffusion"), self.options.least)
        if not indices:
            return None
        return self.samples(self._subset_case(name, indices), self.options.samples), indices

    def _dip_mean(self) -> Tensor:
        """DIP's part: the fits on trial in their shares, and the mean of that and the restarts where there were any."""
        if self.weights is None:
            shares = self.case.y.new_full((2, self.case.shape[0]), 0.5)
        else:
            shares = torch.stack([self._share(kind) for kind in DIP_KINDS]) + 1e-6
            shares = shares / shares.sum(0)
        fitted = (shares.view(2, -1, 1, 1, 1) * torch.stack([self.results[kind] for kind in DIP_KINDS])).sum(0)
        restarts = [self.results[name] for name in self._restarts()]
        if restarts:
            indices = self._refit_indices()
            members = restarts if self.split.coarser or self.split.fewer_measurements else [fitted, *restarts]
            fitted[indices] = torch.stack(members).mean(0)[indices]
        return fitted

    def _fit_spread(self) -> Tensor:
        """The root mean square deviation of the first fits from their mean, (N,)."""
        restarts = self._restarts()
        fits = restarts if self.split.coarser and len(restarts) > 1 else DIP_KINDS
        return torch.stack([self.results[name] for name in fits]).var(0).flatten(1).mean(1).sqrt()

    def _restarts(self) -> list[str]:
        return [name for name in self.results if name.startswith("restart")]

    def _combined(self) -> Tensor:
        """The candidates in their shares, without fits that were not made again: they haven't seen all measurements."""
        fitted = torch.zeros(self.case.shape[0], device=self.case.y.device)
        indices = self._refit_indices()
        fitted[indices] = self._share(*DIP_KINDS)[indices]
        parts = [(self._share(kind), self.results.get(f"{kind} again", self.results[kind])) for kind in DIFFUSION_KINDS]
        parts.append((fitted, self._dip_mean()))
        shares = torch.stack([share for share, _ in parts])
        shares = (shares / shares.sum(0)).view(*shares.shape, 1, 1, 1)
        return (shares * torch.stack([images for _, images in parts])).sum(0)

    def _enforce_consistency(self, images: Tensor) -> Tensor:
        """Agree with the measurements where these are exact."""
        case = without_impulses(self.case, images)
        degradation = case.degradation
        if not isinstance(degradation.noise, GaussianNoise) or degradation.expected_residual(case.y) is not None:
            return images
        return images + degradation.operator.pinv(case.y - degradation.operator.A(images))

    # Diffusion, which is told where impulses seem to be.

    def _chains(self, case: Case, indices: list[int], scale: float, samples: int) -> Chains:
        """From the fits as far as they are made, noised by their spread."""
        begin = self._dip_mean()[indices]
        clean_case = without_impulses(case, begin)
        return self.chains(clean_case, begin, scale * self._fit_spread()[indices], samples)
