"""What a conditioned network does once it is trained: restore the task that it knows, wherever it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from dipddpm.core.compute import checkpoint
from dipddpm.core.compute.rng import derive
from dipddpm.core.config import DdpmConfig, DipConfig, Task
from dipddpm.core.config.hybrid import Conditioned
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.posterior import Restoration
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.solvers import solver
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.estimate import with_noise_level
from dipddpm.core.dip.fit import DipFit
from dipddpm.core.events import Item, StateDict
from dipddpm.core.images import to_model, to_unit
from dipddpm.core.methods.base import shift_step
from dipddpm.core.methods.dip import dip_fit
from dipddpm.core.runs import BEST_FILE, trained


def inherit_prior_options(options: DdpmConfig, of_prior: DdpmConfig) -> DdpmConfig:
    """The options of a training that goes on from a prior: its network, schedule and objective are what they are."""
    schedule = ("timesteps", "schedule", "beta_start", "beta_end", "zero_terminal_snr")
    inherited = {name: getattr(of_prior, name) for name in ("network", *schedule, "objective")}
    return msgspec.structs.replace(options, **inherited)


@dataclass(frozen=True)
class ConditionedModel:
    """A conditioned network taken out of its run, with all that restoring by it takes."""

    model: TrainedModel
    options: Conditioned
    dip: DipConfig
    """What the fits are made with: as those were that it learned from."""
    task: Task
    run: str
    sha256: str

    @classmethod
    def of_run(cls, folder: Path, device: torch.device | str = "cpu") -> ConditionedModel:
        """The best model of a run of hybrid conditioned.

        Raises UserError for another run, where there is no best model yet, and where the run whose prior it has gone
        on from is not there to tell what that settled.
        """
        config, of_prior = trained.conditioned_config(folder)
        assert isinstance(config.hybrid, Conditioned)
        ddpm = inherit_prior_options(config.ddpm, of_prior) if of_prior else config.ddpm
        network = checkpoint.load(folder / BEST_FILE, device)
        model = TrainedModel(network, Schedule.from_config(ddpm, device), ddpm, torch.device(device))
        digest = checkpoint.digest(folder / BEST_FILE)
        return cls(model, config.hybrid, config.dip, config.task, folder.name, digest)

    def restorer(self, case: Case) -> ConditionedRestorer:
        """At work on a case of its task."""
        return ConditionedRestorer(case, self.model, self.options, self.dip)


class ConditionedRestorer:
    """A DIP fit of each image, and then the mean of samples by a network that sees its result beside xt.

    Samples that agree with the measurement, too, were better: on 16 training images of FashionMNIST with 70% of the
    pixels missing, with a bank of 200 and four samples of 20 steps, 18.8 dB for `dpm++`, 21.0 for `ddnm` and 21.4 for
    `diffpir`; by the prior that sees nothing, 18.8 and 20.6 for the latter two.
    """

    def __init__(self, case: Case, model: TrainedModel, options: Conditioned, dip: DipConfig) -> None:
        """Raises UserError for a stopping rule that can't work with this noise, and for too many steps."""
        self.case, self.model, self.options, self.dip = case, model, options, dip
        self.fit = self._begin_fit() if options.beside == "dip" else None
        self.sampling = self._make_sampling()
        self.cond_is_set = False
        """Whether the network has been told what the fit came to."""

    def __len__(self) -> int:
        return (self.dip.iterations if self.fit else 0) + len(self.sampling)

    def __iter__(self) -> Iterator[Item]:
        if self.fit is not None:
            yield from self.fit
        self._set_cond()
        for item in self.sampling:
            yield shift_step(item, self.iterations)

    @property
    def images(self) -> Tensor:
        """(N, C, H, W), in [0, 1] but not clipped: the samples' mean; before they begin, what is seen beside them."""
        if not self.cond_is_set:
            return self._conditioning()
        samples = self.sampling.xt
        return to_unit(samples.view(-1, self.options.samples, *samples.shape[1:]).mean(1))

    @property
    def nfe(self) -> int:
        """All samples together."""
        return self.sampling.evaluations * self.options.samples

    @property
    def iterations(self) -> int:
        """Of the one fit."""
        return self.fit.step if self.fit else 0

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs but the trained network; valid after a `Step`."""
        fit = self.fit
        return {
            "fit": fit.state_dict() if fit else None,
            "groups": [list(indices) for indices in fit.indices] if fit else [],
            "sampled": self.cond_is_set,
            "sampling": self.sampling.state_dict(),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from where `state_dict` was called, in its groups."""
        if self.fit is not None:
            self.fit = self._begin_fit(state["groups"])
            self.fit.load_state_dict(state["fit"])
        self.sampling.load_state_dict(state["sampling"])
        if state["sampled"]:
            self._set_cond()

    def _begin_fit(self, groups: list[list[int]] | None = None) -> DipFit:
        # To the last bit the first fit of the parent.
        return dip_fit(self.case, self.dip, derive(self.case.seed, "restart 0"), groups)

    def _make_sampling(self) -> Sampling:
        """All samples of all images, by the chosen sampler; those of an image lie side by side."""
        case, options, denoiser = self.case, self.options, self.model.denoiser()
        count, channels, height, width = case.shape
        steps = min(options.steps, len(self.model.schedule))
        seed = derive(case.seed, "diffusion")
        if options.sampler == "dpm++":
            start = (count * options.samples, channels, height, width)
            return Sampling(denoiser, solver("dpm++"), start, steps=steps, seed=seed, device=case.y.device)
        degradation = with_noise_level(case.y, case.degradation)
        samples = options.samples
        return Restoration(
            options.sampler, denoiser, case.y, degradation, case.shape, steps=steps, samples=samples, seed=seed
        )

    def _set_cond(self) -> None:
        self.sampling.denoiser.cond = to_model(self._conditioning()).repeat_interleave(self.options.samples, 0)
        self.cond_is_set = True

    def _conditioning(self) -> Tensor:
        if self.fit is not None:
            return torch.stack(self.fit.restored)
        return self.case.degradation.operator.pinv(self.case.y)
