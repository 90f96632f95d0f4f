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

from dipddpm.core.compute.rng import derive
from dipddpm.core.config.dip import DipConfig
from dipddpm.core.config.hybrid import Calibrated, Guided
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade import Mask, SaltAndPepper
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.equalize import equalize_spectrum
from dipddpm.core.methods.calibrated.splitting import folds
from dipddpm.core.methods.calibrated.stacking import stack_means
from dipddpm.core.methods.calibrated.staged import StagedRestorer, StageStart, StageWork
from dipddpm.core.methods.classical.kriging import krige
from dipddpm.core.methods.guided import GuidedRestorer
from dipddpm.core.methods.prior_init import LEVELS, Chains

KINDS = ("fit", "near", "far", "kriged")
"""Candidates: a fit, diffusion that begins at it with little noise and with much, and the classic that knows nothing
but the image's own correlations."""
DIFFUSION_TRUST = 0.7
"""Weight of diffusion above which half of it is drawn from pure noise, in the end. On trial that would take five times
as many steps, for much the same as what begins with much noise. But few steps from the same fits err alike."""


class CrossFittedRestorer(StagedRestorer):
    """A combination of candidates for each image, weighed by pixels that were hidden in turn.

    `weights` (N, K) are the shares of `KINDS` once all folds are done.
    """

    def __init__(self, case: Case, prior: TrainedModel, options: Calibrated, dip: DipConfig) -> None:
        """`case` must be one that this `serves`. Raises UserError for a noise level that can't be estimated."""
        super().__init__(case, prior, options, dip)
        self.splits = folds(self.case, options.fold, options.folds, derive(case.seed, "folds"))
        trial: dict[str, StageStart] = {}
        for kind, begin in (
            ("fit", self._fit),
            ("near", partial(self._from_fit, scale=options.near)),
            ("far", partial(self._from_fit, scale=options.far)),
        ):
            trial |= {f"{kind} {fold}": partial(begin, fold=fold) for fold in range(options.folds)}
        restarts = options.restarts + 4 if options.restarts else 0
        self.last_trial = list(trial)[-1]
        self.plan = trial | {f"restart {i}": self._restart for i in range(restarts)}
        self.plan |= {
            "near again": partial(self._from_fits_again, scale=options.near),
            "far again": partial(self._from_fits_again, scale=options.far),
            "from noise": self._from_noise,
        }

    @staticmethod
    def applies_to(case: Case) -> bool:
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
        parts = torch.stack([self._best_result(kind) for kind in KINDS])
        return (self.weights.T[:, :, None, None, None] * parts).sum(0)

    def fallback_result(self, name: str) -> Tensor:
        """The mean over folds, of what folds have."""
        if self.weights is None or name == "from noise":
            return self.zero_images
        return self._fold_mean("fit" if name.startswith("restart") else name.removesuffix(" again"))

    def on_stage_end(self, name: str) -> None:
        """After the last fold the candidates are weighed."""
        if name == self.last_trial:
            self.results |= {f"kriged {fold}": _krige_case(split.trial_case) for fold, split in enumerate(self.splits)}
            self.results["kriged again"] = _krige_case(self.case)
            self.weights = self._solve_weights()

    def _solve_weights(self) -> Tensor:
        folded = torch.stack([self._fold_results(kind) for kind in KINDS], 1)
        errors = torch.stack([split.errors(made) for split, made in zip(self.splits, folded, strict=True)])
        where = torch.stack([split.where.flatten(1) for split in self.splits])
        # How far folds are apart is seen best where nobody has measured: where some have seen a pixel they agree on it.
        unseen = 1 - self.case.degradation.operator.measured(self.case.y).flatten(1)
        deviations = (folded - folded.mean(0)).flatten(3)
        scatter = torch.einsum("fknm,flnm,nm->nkl", deviations, deviations, unseen)
        scatter = scatter / ((len(deviations) - 1) * unseen.sum(1)).clamp(min=1).view(-1, 1, 1)
        return stack_means(errors, where, scatter)

    # In each fold

    def _fit(self, name: str, fold: int) -> StageWork:
        return self._guided(self._trial_case(name, fold)), self.all_indices()

    def _from_fit(self, name: str, fold: int, scale: float) -> StageWork:
        begin, indices = self.results[f"fit {fold}"], self.all_indices()
        return self._chains(self._trial_case(name, fold), begin, indices, scale, self.options.trial_samples), indices

    # From all measurements

    def _restart(self, name: str) -> StageWork | None:
        indices = self._worthwhile_indices("fit")
        return (self._guided(self.subset_case(name, indices)), indices) if indices else None

    def _from_fits_again(self, name: str, scale: float) -> StageWork | None:
        indices = self._worthwhile_indices(name.removesuffix(" again"))
        if not indices:
            return None
        chains = self._chains(
            self.subset_case(name, indices), self._best_result("fit")[indices], indices, scale, self.options.samples
        )
        return chains, indices

    def _from_noise(self, name: str) -> StageWork | None:
        indices = self._diffusion_trusted().nonzero().flatten().tolist()
        return (self.samples(self.subset_case(name, indices), self.options.samples), indices) if indices else None

    def _diffusion_trusted(self) -> Tensor:
        """Of which images diffusion is believed, (N,)."""
        assert self.weights is not None
        return self.weights[:, [KINDS.index("near"), KINDS.index("far")]].sum(1) > DIFFUSION_TRUST

    def _worthwhile_indices(self, kind: str) -> list[int]:
        assert self.weights is not None
        return (self.weights[:, KINDS.index(kind)] > self.options.least).nonzero().flatten().tolist()

    # What candidates have come to

    def _fold_results(self, kind: str) -> Tensor:
        return torch.stack([self.results[f"{kind} {fold}"] for fold in range(self.options.folds)])

    def _fold_mean(self, kind: str) -> Tensor:
        return self._fold_results(kind).mean(0)

    def _restarts(self) -> list[str]:
        return [name for name in self.plan if name.startswith("restart")]

    def _best_result(self, kind: str) -> Tensor:
        """The best that there is of a kind: fits that have seen all pixels, and all samples."""
        if kind == "fit":
            fits = [self.results[name] for name in self._restarts() if name in self.results]
            return torch.stack(fits).mean(0) if fits else self._fold_mean(kind)
        again = self.results.get(f"{kind} again")
        if again is None:
            return self._fold_mean(kind)
        if kind == "kriged":
            return again
        before = self.options.folds * self.options.trial_samples
        made = (self.options.samples * again + before * self._fold_mean(kind)) / (self.options.samples + before)
        if "from noise" in self.results:
            both = (made + self.results["from noise"]) / 2
            made = torch.where(self._diffusion_trusted().view(-1, 1, 1, 1), both, made)
        return made

    # The work

    def _trial_case(self, name: str, fold: int) -> Case:
        return replace(self.splits[fold].trial_case, seed=derive(self.case.seed, name))

    def _guided(self, case: Case) -> GuidedRestorer:
        pull = case.y.new_full((len(case.y),), self.options.pull)
        return GuidedRestorer(
            equalize_spectrum(case), self.prior, Guided(weight=self.options.weight), self.dip, weights=pull
        )

    def _chains(self, case: Case, begin: Tensor, indices: list[int], scale: float, samples: int) -> Chains:
        """From fits, noised by how far those of the folds are apart."""
        spread = self._fold_results("fit").var(0).flatten(1).mean(1).sqrt()[indices]
        return self.chains(case, begin, scale * spread, samples)


def _krige_case(case: Case) -> Tensor:
    noise = case.degradation.expected_residual(case.y)
    variance = case.y.new_zeros(len(case.y)) if noise is None else noise
    return krige(case.y, case.degradation.operator.measured(case.y), variance)
