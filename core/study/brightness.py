"""The experiment on the published baseline's blindness: the same training, with what the network can't see changed.

The published network begins with a LayerNorm over the whole image, so it never knows how bright xt is. Two networks are
trained with the same initial weights, images and noise: as published, and with that one norm left out. From the first
one, samples are drawn twice: as they are, and with the mean given back, which leaves every weight as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dipddpm.core.compute.rng import derive
from dipddpm.core.config import DdpmConfig
from dipddpm.core.config.study import ExplanationConfig
from dipddpm.core.data import ImageSet
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.networks.tutorial import TutorialNetwork
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.solvers import solver
from dipddpm.core.ddpm.training import DdpmTraining
from dipddpm.core.events import EpochFinished, StateDict, Step
from dipddpm.core.images import to_model, to_unit
from dipddpm.core.metrics.samples import evaluate
from dipddpm.core.metrics.spread import Spread, scale_each
from dipddpm.core.study.findings import AS_PUBLISHED, MEAN_GIVEN_BACK, REAL, WITHOUT_NORM, BaselineResult

BATCH_SIZE = 32
"""A quarter of the published size, so that few images give enough steps."""
ADDED = 0.1
"""Brightness added to pure noise to see how much of it a network finds; a fifth to a third of it occurs by chance."""


class MeanGivenBack(nn.Module):
    """A network whose prediction of eps has the mean that is most likely for the mean of xt, in place of its own.

    For means of images with variance v about m, and of eps with variance 1/n for n pixels, the best linear guess from
    the mean of xt = a x0 + s eps is s/n / (a^2 v + s^2/n) (mean(xt) - a m).
    """

    def __init__(self, network: nn.Module, schedule: Schedule, real: Spread) -> None:
        super().__init__()
        self.network, self.schedule, self.real = network, schedule, real

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """Predict eps for xt at timesteps that are all the same."""
        alpha, sigma = self.schedule.alpha_sigma(int(t[0]))
        eps: Tensor = self.network(xt, t)
        noise = sigma / xt[0].numel()
        slope = noise / (alpha**2 * self.real.brightness**2 + sigma * noise)
        means, own = (images.mean((1, 2, 3), keepdim=True) for images in (xt, eps))
        return eps - own + slope * (means - alpha * self.real.center)


class BrightnessTrial:
    """The trainings and samplings of the experiment, as an iterable of their `Step`s; it resumes after any of them."""

    def __init__(
        self, train: ImageSet, test: ImageSet, options: ExplanationConfig, *, seed: int, device: torch.device | str
    ) -> None:
        ddpm = DdpmConfig(epochs=options.baseline_epochs, batch_size=BATCH_SIZE)
        self.test = test
        self.schedule = Schedule.from_config(ddpm, device)
        self.images = train.take(range(min(len(train), options.baseline_images))).images
        self.real = Spread.of_training(self.images)
        channels, height, width = self.images.shape[1:]
        self.seed, self.count = seed, options.baseline_samples
        self.networks: dict[str, nn.Module] = {}
        self.parts: dict[str, DdpmTraining | Sampling] = {}
        for name in (AS_PUBLISHED, WITHOUT_NORM):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive(seed, "network"))
                network = TutorialNetwork(first_norm=name == AS_PUBLISHED).to(device)
            self.parts[f"training {name}"] = DdpmTraining(
                network, self.schedule, self.images.to(device), ddpm, seed=seed, held_out=test.images.to(device)
            )
            self.networks[name] = network
        published, changed = self.networks.values()
        given_back = MeanGivenBack(published, self.schedule, self.real)
        self.networks = {AS_PUBLISHED: published, MEAN_GIVEN_BACK: given_back, WITHOUT_NORM: changed}
        for name, sampled in self.networks.items():
            self.parts[name] = Sampling(
                Denoiser(sampled, self.schedule),
                solver("ancestral"),
                (self.count, channels, height, width),
                steps=options.baseline_steps,
                seed=derive(seed, "samples"),
                device=device,
            )
        self.losses: dict[str, list[float]] = {}
        """Mean training loss of the last epoch, and the error on test images after it, by training."""

    def __len__(self) -> int:
        return sum(map(len, self.parts.values()))

    @property
    def step(self) -> int:
        """Steps done."""
        return sum(part.steps_done if isinstance(part, Sampling) else part.step for part in self.parts.values())

    def __iter__(self) -> Iterator[Step]:
        for name, part in self.parts.items():
            for item in part:
                if isinstance(item, EpochFinished):
                    assert item.held_out is not None
                    self.losses[name.removeprefix("training ")] = [item.loss, item.held_out]
                if isinstance(item, Step):
                    yield item

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs; valid after a `Step`."""
        return {"parts": {name: part.state_dict() for name, part in self.parts.items()}, "losses": self.losses}

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])
        self.losses = dict(state["losses"])

    def samples(self) -> dict[str, Tensor]:
        """Return the finished samples in model space, by name; first as many test images, if there are as many."""
        sampled = {name: part.xt for name, part in self.parts.items() if isinstance(part, Sampling)}
        return {REAL: to_model(self.test.images[: self.count])} | sampled

    def results(self) -> dict[str, BaselineResult]:
        """Measure the samples against the test images, in true range and each in its own range."""
        measured = {}
        for name, images in self.samples().items():
            network = self.networks.get(name)
            losses = self.losses.get(AS_PUBLISHED if name == MEAN_GIVEN_BACK else name, [])
            spread = Spread.of(images, self.real.center)
            frechet, kernel = self._distances(to_unit(images).clamp(0, 1))
            own_frechet, own_kernel = self._distances(scale_each(images))
            measured[name] = BaselineResult(
                losses=losses,
                spread=spread.brightness,
                contrast=spread.contrast,
                frechet=frechet,
                kernel=kernel,
                own_range_frechet=own_frechet,
                own_range_kernel=own_kernel,
                response=None if network is None else self._response(network),
            )
        return measured

    def _distances(self, images: Tensor) -> tuple[float, float]:
        frechet, kernel = evaluate(images, self.test, seed=self.seed)
        return frechet.value, kernel.value

    @torch.no_grad()
    def _response(self, network: nn.Module) -> float:
        """Return the share of a brightness added to pure noise that the network, at the last timestep, finds in eps."""
        last = len(self.schedule) - 1
        device = self.schedule.alpha_bar.device
        noise = torch.randn(64, *self.test.images.shape[1:], generator=torch.Generator().manual_seed(0)).to(device)
        t = torch.full((len(noise),), last, device=device)
        network.eval()
        return float((network(noise + ADDED, t) - network(noise, t)).mean() / ADDED)
