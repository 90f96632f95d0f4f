"""Images of one size, fitted in step by one network of as many priors."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from core import registry
from core.config.dip import DipConfig
from core.degrade import Degradation
from core.dip.stop import Discrepancy, HeldOut, Look, MovingVariance, Never, Rule, Stopping
from core.errors import UserError
from core.events import State
from core.metrics import psnr
from core.seeds import derive

CHECK_EVERY = 10
"""Iterations between two good states that a fit can go back to."""
WARM_UP = 9
"""The running average covers about the last tenth of the iterations, until that is more than its weight allows."""

Penalty: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""From outputs (n, C, H, W) and their places in the batch, int64 (n,), to what is added to each one's loss, (n,)."""


class PriorBatch:
    """Fit B priors to B measurements: minimise the mean of |A f(z) - y|^p, p = 2 (1 where noise is salt-and-pepper).

    Ulyanov et al., CVPR 2018: z is U(0, 0.1), drawn once; each iteration adds fresh Gaussian noise to it. All priors
    share z, its noise and the starting weights, so each image is fitted as it would be alone with the same seed,
    whichever images are beside it (up to rounding). All random draws come from one generator of this batch.

    `restored` is the running average of outputs, o <- w o + (1 - w) f(z), with w rising from 0 as t / (t + 9) to
    `average`: unlike the original's constant weight, the first outputs are soon forgotten. With `sgld`, Gaussian noise
    on the convolutions makes the iterations stochastic gradient Langevin dynamics (Cheng et al., CVPR 2019), and the
    average their posterior mean. When the fit of an image falls by `backtrack` dB within 10 iterations, its weights and
    its optimiser's moments go back to where they were.
    """

    def __init__(
        self,
        y: Tensor,
        degradation: Degradation,
        options: DipConfig,
        shape: tuple[int, int, int],
        *,
        seed: int = 0,
        truth: Tensor | None = None,
        hidden: Tensor | None = None,
        penalty: Penalty | None = None,
    ) -> None:
        """`y` are B measurements of images of `shape` (C, H, W); `truth` (B, C, H, W) is for reporting only.

        `hidden`, shaped like y, is 1 at what the fit must not see, in place of the random share of the rule held-out.
        `penalty` is added to what is minimised; what is told and what stops a fit is the data error alone.

        Raises UserError for a stopping rule that can't work with this noise.
        """
        device, count = y.device, len(y)
        self.y, self.degradation, self.options, self.truth = y, degradation, options, truth
        # Drawn on the CPU, so that every device starts from the same point.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "network"))
            network = registry.network(options.network).for_images(shape, options, count)
            self.z = 0.1 * torch.rand(1, options.input_channels, *network.input_size(*shape[1:])).to(device)
            drawn = torch.rand(y.shape[1:]) < options.held_out if options.stop == "held-out" else torch.zeros(1) > 0
        hidden = drawn if hidden is None else hidden
        self.network: nn.Module = network.to(device)
        self.generator = torch.Generator(device).manual_seed(derive(seed, "fit"))
        fused = device.type in {"cpu", "cuda"}
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=options.lr, fused=fused)

        measured = degradation.operator.measured(y)
        self.hidden = measured * hidden.to(device)
        self.fitted = measured - self.hidden
        self.penalty = penalty
        self.places = torch.arange(count, device=device)
        self.power = 1 if degradation.noise.kind == "salt-and-pepper" else 2
        full = torch.Size((count, *shape))
        self.restored = torch.zeros(full, device=device)
        self.loss = torch.zeros(count, device=device)
        self.output = self.restored
        self.stopping = Stopping(self._rule(full), full, options.patience, device)
        self.peak = torch.full((count,), -torch.inf, device=device)
        """The best PSNR that `restored` ever had, (B,), and at which iteration."""
        self.peak_at = torch.zeros(count, dtype=torch.long, device=device)
        self.step = 0
        self.good_loss = torch.full((count,), torch.inf, device=device)
        self.good: list[Tensor] = []
        self.backtracked = torch.zeros(count, dtype=torch.long, device=device)
        """The iteration of each image's last way back, (B,); 0: none."""

    def __len__(self) -> int:
        return len(self.y)

    def start_from(self, other: PriorBatch) -> None:
        """Begin where another fit of these images with this seed has come to; all images must still be in it.

        Its networks and the optimiser's moments are taken over; its average of outputs and its stop are not.
        """
        self.network.load_state_dict(other.network.state_dict())
        self.optimizer.load_state_dict(copy.deepcopy(other.optimizer.state_dict()))

    def advance(self) -> None:
        """One iteration. Nothing is read from the device."""
        options = self.options
        noise = torch.randn(self.z.shape, generator=self.generator, device=self.z.device)
        output = self.network(self.z + options.input_noise * noise)
        self.loss = self._error(output, self.fitted, self.power)
        aim = self.loss if self.penalty is None else self.loss + self.penalty(output, self.places)
        self.optimizer.zero_grad()
        aim.sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1
        with torch.no_grad():
            if options.sgld:
                self._shake()
            self._observe(output.detach())
            if options.backtrack and self.step % CHECK_EVERY == 0:
                self._go_back_or_save()

    def _observe(self, output: Tensor) -> None:
        before = self.step - 1
        self.loss, self.output = self.loss.detach(), output
        weight = min(self.options.average, before / (before + WARM_UP))
        self.restored = output if weight == 0 else torch.lerp(output, self.restored, weight)
        if self.truth is not None:
            now = psnr(self.restored, self.truth)
            better = now > self.peak
            self.peak = torch.where(better, now, self.peak)
            self.peak_at = torch.where(better, self.step, self.peak_at)
        hidden = self._error(self.restored, self.hidden, self.power) if self.options.stop == "held-out" else None
        self.stopping.update(self.step, Look(output, self.restored, self.loss, hidden))

    def _error(self, images: Tensor, where: Tensor, power: int) -> Tensor:
        """Mean of |A x - y|^power over some of the measured values, (B,)."""
        difference = (self.degradation.operator.A(images) - self.y) * where
        error = difference.square() if power == 2 else difference.abs()
        return error.flatten(1).sum(1) / where.flatten(1).sum(1)

    def _rule(self, shape: torch.Size) -> Rule:
        options, device = self.options, self.y.device
        expected = self.degradation.expected_residual(self.y)
        wanted = options.stop
        if wanted == "auto":
            wanted = "variance" if expected is None else "discrepancy"
        if wanted == "variance":
            return MovingVariance(shape, options.window, device)
        if wanted == "held-out":
            return HeldOut()
        if wanted == "never":
            return Never()
        if expected is None:
            problem = "The discrepancy principle needs a noise level, and this task has none."
            raise UserError(problem, "Give the task a sigma, or use dip.stop=variance or held-out.")
        return Discrepancy(options.discrepancy * expected)

    def _shake(self) -> None:
        """Langevin noise, alike for all priors, as everything random is."""
        std = self.options.sgld * self.options.lr
        for weight in self.network.parameters():
            if weight.ndim == 4:
                one = torch.randn(
                    len(weight) // len(self), *weight.shape[1:], generator=self.generator, device=weight.device
                )
                weight.add_(one.repeat(len(self), 1, 1, 1), alpha=std)

    def _rows(self) -> list[Tensor]:
        """All that is fitted, and the optimiser's moments, each with a row for every prior."""
        parameters = list(self.network.parameters())
        moments = [self.optimizer.state[p][key] for p in parameters for key in ("exp_avg", "exp_avg_sq")]
        return [tensor.view(len(self), -1) for tensor in (*parameters, *moments)]

    def _go_back_or_save(self) -> None:
        """Take back the images whose fit fell, or that are no longer finite; note where the others are.

        The optimiser's count of steps, which all images share, goes on.
        """
        allowed = self.good_loss * 10 ** (self.options.backtrack * self.power / 20)
        fell = ~(self.loss <= allowed)
        self.good = self.good or [now.clone() for now in self._rows()]
        for now, good in zip(self._rows(), self.good, strict=True):
            now.copy_(torch.where(fell.view(-1, 1), good, now))
            good.copy_(now)
        self.good_loss = torch.where(fell, self.good_loss, self.loss)
        self.backtracked = torch.where(fell, self.step, self.backtracked)

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid between two iterations."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "stopping": self.stopping.state_dict(),
            "step": self.step,
            "good": self.good,
            **{name: getattr(self, name) for name in _KEPT},
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from where `state_dict` was called, with the same measurements and options."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        self.stopping.load_state_dict(state["stopping"])
        self.step, self.good = state["step"], [good.clone() for good in state["good"]]
        for name in _KEPT:
            setattr(self, name, state[name])


_KEPT = ("restored", "loss", "output", "peak", "peak_at", "good_loss", "backtracked")
"""What else is remembered from one iteration to the next, a row for each image."""
