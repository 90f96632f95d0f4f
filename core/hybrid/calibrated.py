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

from core.config.dip import DipConfig
from core.config.hybrid import Calibrated, Guided
from core.ddpm.trained import TrainedModel
from core.degrade import GaussianNoise
from core.hybrid.cross_fitted import CrossFittedRestorer
from core.hybrid.evened import evened
from core.hybrid.guided import GuidedRestorer
from core.hybrid.hold_out import hold_out
from core.hybrid.impulses import without_impulses
from core.hybrid.parents import DipRestorer
from core.hybrid.prior_init import LEVELS, Chains
from core.hybrid.restorer import Case, Restorer
from core.hybrid.stacking import stack
from core.hybrid.staged import Begin, Staged, Work
from core.hybrid.trust import decided, leading, spread
from core.seeds import derive

DIP = ("dip", "guided")
SAMPLED = ("near", "far", "diffusion")
"""Candidates by diffusion: two that begin at the fits, with little noise and with much, and one from pure noise."""


class CalibratedRestorer(Staged):
    """A combination of candidates for each image, weighed by held-back measurements.

    Works in stages, each a restorer of its own; `weights` (N, K) are the shares of `kinds` once the trial is over.
    """

    def __init__(self, case: Case, prior: TrainedModel, options: Calibrated, dip: DipConfig) -> None:
        """Raises UserError where a noise level is needed and can't be estimated."""
        super().__init__(case, prior, options, dip)
        self.split = hold_out(self.case, options.hidden, options.noise, derive(case.seed, "hold out"))
        trials: dict[str, Begin] = {
            "dip": self._try_dip,
            "guided": self._try_guided,
            "near": partial(self._try_from_fits, scale=options.near),
            "far": partial(self._try_from_fits, scale=options.far),
            "diffusion": self._try_diffusion,
        }
        self.kinds = list(trials)
        # As many fits are averaged where those on trial don't count, for they have seen fewer values.
        restarts = options.restarts + (len(DIP) if self.split.fewer and options.restarts else 0)
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
        if CrossFittedRestorer.serves(case):
            return CrossFittedRestorer(case, prior, options, dip)
        return cls(case, prior, options, dip)

    def __len__(self) -> int:
        restarts = sum(name.startswith("restart") for name in self.plan)
        fits = (len(DIP) + restarts) * self.dip.iterations
        return fits + 2 * (2 * LEVELS * self.options.steps + self.options.full_steps)

    def earlier(self, name: str) -> Tensor:
        """That of the trial."""
        return self.results.get(name.removesuffix(" again"), self.results.get("dip", self.nothing))

    def ended(self, name: str) -> None:
        """With the last candidate the trial is over."""
        if name == "diffusion":
            self.weights = self._weigh()

    @property
    def images(self) -> Tensor:
        """(N, C, H, W), in [0, 1] but not clipped: until the trial is over, the mean of what there is."""
        if self.weights is None:
            return self.mean_so_far()
        return self._consistent(self._combined())

    # The trial: every candidate is made of what was not held back.

    def _seen(self, name: str) -> Case:
        return replace(self.split.seen, seed=derive(self.case.seed, name))

    def _try_dip(self, name: str) -> Work:
        return DipRestorer(evened(self._seen(name)), self.dip), self.everywhere()

    def _try_guided(self, name: str) -> Work:
        case = without_impulses(self._seen(name), self.results["dip"])
        options = Guided(weight=self.options.weight)
        return GuidedRestorer(evened(case), self.prior, options, self.dip), self.everywhere()

    def _try_from_fits(self, name: str, scale: float) -> Work:
        places = self.everywhere()
        return self._chains(self._seen(name), places, scale, self.options.trial_samples), places

    def _try_diffusion(self, name: str) -> Work:
        case = without_impulses(self._seen(name), self.results["dip"])
        return self.samples(case, self.options.trial_samples), self.everywhere()

    def _weigh(self) -> Tensor:
        """The shares of `kinds`, (N, K), that best predict what was held back."""
        errors = self.split.errors(torch.stack([self.results[kind] for kind in self.kinds]))
        split = self.split
        weights = stack(errors, split.where.flatten(1), robust=split.robust, least=split.pooled)
        if split.coarser:
            return leading(weights, len(DIP))
        if split.fewer:
            return spread(weights, len(DIP))
        return decided(weights, len(DIP)) if split.faint else weights

    # What is worth something is made again from all that was measured.

    def _share(self, *kinds: str) -> Tensor:
        """Of the combination, for each image, (N,)."""
        assert self.weights is not None
        return self.weights[:, [self.kinds.index(kind) for kind in kinds]].sum(1)

    def _places(self, share: Tensor, least: float) -> list[int]:
        return (share > least).nonzero().flatten().tolist()

    def _fitted_again(self) -> list[int]:
        if self.split.coarser:
            return self._places(self._share(*DIP, "near", "far"), self.options.least)
        return self._places(self._share(*DIP), self.options.least if self.split.fewer else self.options.trusted)

    def _some(self, name: str, places: list[int]) -> Case:
        """The case of some of the images, from all measurements but those that the trial shows to be impulses."""
        return without_impulses(self.some(name, places), self._on_trial()[places])

    def _on_trial(self) -> Tensor:
        """The combination of the candidates as they are, before any is made again."""
        assert self.weights is not None
        results = torch.stack([self.results[kind] for kind in self.kinds])
        return (self.weights.T[:, :, None, None, None] * results).sum(0)

    def _restart(self, name: str) -> Work | None:
        """A DIP fit that is guided as far as guiding was better than leaving it alone, and a little in any case where
        so few values were hidden that this is hard to tell."""
        places = self._fitted_again()
        if not places:
            return None
        pull = (self._share("guided") / self._share(*DIP).clamp(min=1e-6))[places] * self.options.weight
        if self.split.fewer:
            pull = pull.clamp(min=self.options.pull)
        options = Guided(weight=self.options.weight)
        return GuidedRestorer(evened(self._some(name, places)), self.prior, options, self.dip, weights=pull), places

    def _from_fits_again(self, name: str, scale: float) -> Work | None:
        places = self._places(self._share(name.removesuffix(" again")), self.options.least)
        if not places:
            return None
        return self._chains(self._some(name, places), places, scale, self.options.samples), places

    def _diffusion_again(self, name: str) -> Work | None:
        places = self._places(self._share("diffusion"), self.options.least)
        if not places:
            return None
        return self.samples(self._some(name, places), self.options.samples), places

    def _fitted(self) -> Tensor:
        """DIP's part: the fits on trial in their shares, and the mean of that and the restarts where there were any."""
        if self.weights is None:
            shares = self.case.y.new_full((2, self.case.shape[0]), 0.5)
        else:
            shares = torch.stack([self._share(kind) for kind in DIP]) + 1e-6
            shares = shares / shares.sum(0)
        fitted = (shares.view(2, -1, 1, 1, 1) * torch.stack([self.results[kind] for kind in DIP])).sum(0)
        restarts = [self.results[name] for name in self._restarts()]
        if restarts:
            places = self._fitted_again()
            members = restarts if self.split.coarser or self.split.fewer else [fitted, *restarts]
            fitted[places] = torch.stack(members).mean(0)[places]
        return fitted

    def _spread(self) -> Tensor:
        """The root mean square deviation of the first fits from their mean, (N,)."""
        restarts = self._restarts()
        fits = restarts if self.split.coarser and len(restarts) > 1 else DIP
        return torch.stack([self.results[name] for name in fits]).var(0).flatten(1).mean(1).sqrt()

    def _restarts(self) -> list[str]:
        return [name for name in self.results if name.startswith("restart")]

    def _combined(self) -> Tensor:
        """The candidates in their shares, without fits that were not made again: they haven't seen all measurements."""
        fitted = torch.zeros(self.case.shape[0], device=self.case.y.device)
        places = self._fitted_again()
        fitted[places] = self._share(*DIP)[places]
        parts = [(self._share(kind), self.results.get(f"{kind} again", self.results[kind])) for kind in SAMPLED]
        parts.append((fitted, self._fitted()))
        shares = torch.stack([share for share, _ in parts])
        shares = (shares / shares.sum(0)).view(*shares.shape, 1, 1, 1)
        return (shares * torch.stack([images for _, images in parts])).sum(0)

    def _consistent(self, images: Tensor) -> Tensor:
        """Agree with the measurements where these are exact."""
        case = without_impulses(self.case, images)
        degradation = case.degradation
        if not isinstance(degradation.noise, GaussianNoise) or degradation.expected_residual(case.y) is not None:
            return images
        return images + degradation.operator.pinv(case.y - degradation.operator.A(images))

    # Diffusion, which is told where impulses seem to be.

    def _chains(self, case: Case, places: list[int], scale: float, samples: int) -> Chains:
        """From the fits as far as they are made, noised by their spread."""
        begin = self._fitted()[places]
        told = without_impulses(case, begin)
        return self.chains(told, begin, scale * self._spread()[places], samples)
