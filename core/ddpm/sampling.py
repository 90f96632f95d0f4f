"""Sampling of images from noise, by any solver in any number of steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.solvers import Solver
from dipddpm.core.ddpm.spacing import refuse_steps
from dipddpm.core.ddpm.training import READ_EVERY
from dipddpm.core.events import StateDict, Step
from dipddpm.core.images import to_unit

CLIP_REMEDY = (
    "Train with a lower ddpm.lr, ddpm.beta_end or ddpm.timesteps, "
    "or add --clip to dipddpm sample, which clips each estimate of x0."
)
"""The remedy for samples that aren't finite or far from any pixel's value."""
LOWER_REMEDY = "Train the model again with a lower ddpm.lr, ddpm.beta_end or ddpm.timesteps."
"""The remedy for such samples if each estimate of x0 is clipped."""


class Sampling:
    """The sampling of all images together, as an iterable of `Step` events (on an accelerator, one every 25 steps).

    `start` is a shape (N, C, H, W), which begins from pure noise on `device`, or images in model space that already
    have the noise of timestep `begin` (default: the last timestep). `steps` is the number of steps, 0 for all
    timesteps; the solver chooses the timesteps, and may add steps that go up again. Timesteps of pure noise are skipped
    (see `Schedule.first_timestep`).
    After the iteration `xt` holds the samples, in model space; `nfe` is the number of network evaluations for each
    image. With `trajectory_every` k, `trajectory` holds xt after every k-th step, on the CPU. Events count steps from
    `first_step`.

    A sampling that is resumed with `load_state_dict` gives the same images as one that never stopped. Raises UserError
    for more steps than timesteps.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        solver: Solver,
        start: tuple[int, int, int, int] | Tensor,
        *,
        begin: int | None = None,
        steps: int = 0,
        seed: int = 0,
        device: torch.device | str = "cpu",
        trajectory_every: int = 0,
        first_step: int = 0,
        epoch: int = 0,
    ) -> None:
        self.denoiser = denoiser
        self.solver = solver
        begin = len(denoiser.schedule) - 1 if begin is None else begin
        if not 0 <= begin < len(denoiser.schedule):
            raise ValueError(f"there is no timestep {begin}")
        refuse_steps(begin + 1, steps or begin + 1)
        timesteps = min(begin, denoiser.schedule.first_timestep(denoiser.objective)) + 1
        self.path = solver.path(denoiser.schedule, timesteps, min(steps or timesteps, timesteps))
        """The timesteps that xt goes through, one step from each to the next; the last is -1, the clean image."""
        self.generator = torch.Generator(start.device if isinstance(start, Tensor) else device).manual_seed(seed)
        self.xt: Tensor
        if isinstance(start, Tensor):
            self.xt = start
        else:
            self.xt = torch.randn(start, generator=self.generator, device=device)
        self.steps_done = 0
        self.evaluations = 0
        """The number of network evaluations for each image of xt."""
        self.trajectory_every = trajectory_every
        self.trajectory: list[Tensor] = []
        self.first_step = first_step
        self.epoch = epoch
        self.read_every = 1 if self.xt.device.type == "cpu" else READ_EVERY

    def __iter__(self) -> Iterator[Step]:
        if isinstance(self.denoiser.network, nn.Module):
            self.denoiser.network.eval()
        while self.steps_done < len(self):
            for _ in range(min(self.read_every, len(self) - self.steps_done)):
                self._step()
            yield Step(step=self.first_step + self.steps_done, epoch=self.epoch)

    def __len__(self) -> int:
        return len(self.path) - 1

    @property
    def nfe(self) -> int:
        """The number of network evaluations for each image."""
        return self.evaluations

    def state_dict(self) -> dict[str, Any]:
        """Return the state that an exact resume needs besides the network's weights; valid after a `Step`."""
        return {
            "xt": self.xt,
            "done": self.steps_done,
            "nfe": self.evaluations,
            "generator": self.generator.get_state(),
            "solver": self.solver.state_dict(),
            "trajectory": list(self.trajectory),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state of `state_dict`, with the same network and options."""
        self.xt = state["xt"].to(self.xt.device)
        self.steps_done, self.evaluations, self.trajectory = state["done"], state["nfe"], list(state["trajectory"])
        self.generator.set_state(state["generator"].cpu())
        self.solver.load_state_dict(state["solver"])

    @torch.no_grad()
    def _step(self) -> None:
        t, t_next = self.path[self.steps_done : self.steps_done + 2]
        nfe_before = self.denoiser.nfe
        self.xt = self.solver.step(self.denoiser, self.xt, t, t_next, self.generator)
        self.evaluations += self.denoiser.nfe - nfe_before
        self.steps_done += 1
        if self.trajectory_every and self.steps_done % self.trajectory_every == 0:
            self.trajectory.append(self.xt.cpu())


class AveragedSampling(Sampling):
    """A sampling of `count` samples of each image, which are consecutive in xt; `images` are their means.

    The other arguments are those of `Sampling`.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        solver: Solver,
        start: tuple[int, int, int, int] | Tensor,
        *,
        count: int,
        begin: int | None = None,
        steps: int = 0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.count = count
        """The number of samples of each image."""
        super().__init__(denoiser, solver, start, begin=begin, steps=steps, seed=seed, device=device)

    @property
    def images(self) -> Tensor:
        """The current means of the samples (N, C, H, W), on the scale [0, 1] but not clipped."""
        return to_unit(self.xt.view(-1, self.count, *self.xt.shape[1:]).mean(1))

    @property
    def samples(self) -> Tensor | None:
        """The current samples, (K, N, C, H, W), in [0, 1] but not clipped; None if there is only one."""
        if self.count < 2:
            return None
        return to_unit(self.xt.view(-1, self.count, *self.xt.shape[1:]).movedim(1, 0))

    @property
    def spread(self) -> Tensor | None:
        """The standard deviation of the samples, (N, C, H, W), in [0, 1], with the divisor K - 1; None without any."""
        return None if (samples := self.samples) is None else samples.std(0)

    @property
    def nfe(self) -> int:
        """The number of network evaluations for each image, all its samples together."""
        return self.evaluations * self.count
