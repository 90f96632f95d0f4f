"""Sampling: from noise to images by any solver in any number of steps, as something that one iterates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.solvers import Solver
from dipddpm.core.ddpm.training import READ_EVERY
from dipddpm.core.errors import UserError
from dipddpm.core.events import StateDict, Step


class Sampling:
    """Bring xt to t = 0 and out of the noise, all images together.

    `start` is a shape (N, C, H, W), to begin from pure noise on `device`, or images in model space that already have
    the noise of timestep `begin`, the last one unless it is given. `steps` is how many steps to take, 0 for all
    timesteps; `spacing` says which. `xt` holds the samples, in model space, when the iteration has ended; `nfe` counts
    how often the network has seen each image. With `trajectory_every` k, `trajectory` has xt after every k-th step, on
    the CPU. Events count steps from `first_step`.

    As with training, iterating on after `load_state_dict` gives the same images as never having stopped. Raises
    UserError for more steps than there are timesteps.
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
        self.times = spacing(begin + 1, steps or begin + 1, solver.power)
        """The timesteps that the network sees, falling."""
        self.generator = torch.Generator(start.device if isinstance(start, Tensor) else device).manual_seed(seed)
        self.xt: Tensor
        if isinstance(start, Tensor):
            self.xt = start
        else:
            self.xt = torch.randn(start, generator=self.generator, device=device)
        self.steps_done = 0
        self.evaluations = 0
        """Evaluations of the network, for each image of xt."""
        self.trajectory_every = trajectory_every
        self.trajectory: list[Tensor] = []
        self.first_step = first_step
        self.epoch = epoch
        self.read_every = 1 if self.xt.device.type == "cpu" else READ_EVERY

    def __iter__(self) -> Iterator[Step]:
        if isinstance(self.denoiser.network, nn.Module):
            self.denoiser.network.eval()
        while self.steps_done < len(self.times):
            for _ in range(min(self.read_every, len(self.times) - self.steps_done)):
                self._step()
            yield Step(step=self.first_step + self.steps_done, epoch=self.epoch)

    def __len__(self) -> int:
        return len(self.times)

    @property
    def nfe(self) -> int:
        """How often the network has seen each image."""
        return self.evaluations

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs but the network's weights; valid after a `Step`."""
        return {
            "xt": self.xt,
            "done": self.steps_done,
            "nfe": self.evaluations,
            "generator": self.generator.get_state(),
            "solver": self.solver.state_dict(),
            "trajectory": list(self.trajectory),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from where `state_dict` was called, with the same network and options."""
        self.xt = state["xt"].to(self.xt.device)
        self.steps_done, self.evaluations, self.trajectory = state["done"], state["nfe"], list(state["trajectory"])
        self.generator.set_state(state["generator"].cpu())
        self.solver.load_state_dict(state["solver"])

    @torch.no_grad()
    def _step(self) -> None:
        t, t_next = self.times[self.steps_done], (*self.times, -1)[self.steps_done + 1]
        nfe_before = self.denoiser.nfe
        self.xt = self.solver.step(self.denoiser, self.xt, t, t_next, self.generator)
        self.evaluations += self.denoiser.nfe - nfe_before
        self.steps_done += 1
        if self.trajectory_every and self.steps_done % self.trajectory_every == 0:
            self.trajectory.append(self.xt.cpu())


def spacing(timesteps: int, steps: int, power: float = 1.0) -> list[int]:
    """`steps` different timesteps, falling from the last of so many.

    (1 - i / steps)^power of the way, counted so that the first is the last timestep and the step after the final one
    is the clean image: evenly for 1 ("trailing" in Lin et al. 2024, table 2), else denser where there is less noise.
    Each is rounded, and moved on to the nearest that is free. Raises UserError for more steps than timesteps.
    """
    if not 1 <= steps <= timesteps:
        raise UserError(f"Sampling over {timesteps} timesteps has 1 to {timesteps} steps, not {steps}.", _FEWER)
    times = [round(timesteps * (1 - i / steps) ** power) - 1 for i in range(steps)]
    for i in range(1, steps):
        times[i] = min(times[i], times[i - 1] - 1)
    # What this moved beyond the end comes back from there.
    return [max(t, steps - 1 - i) for i, t in enumerate(times)]


_FEWER = "Give fewer steps, or 0 for all."
