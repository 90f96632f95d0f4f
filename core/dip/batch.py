"""Images of one size, fitted in step by one network of as many priors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from dipddpm.core.compute.rng import derive
from dipddpm.core.config.dip import DipConfig
from dipddpm.core.degrade import Degradation
from dipddpm.core.degrade.estimate import with_noise_level
from dipddpm.core.dip.ensemble import Priors
from dipddpm.core.dip.stopping import MovingVariance, Rule, StopInput, Stopping, discrepancy, held_out, never
from dipddpm.core.errors import UserError
from dipddpm.core.events import StateDict
from dipddpm.core.metrics.image import psnr

CHECK_EVERY = 10
"""Iterations between two good states that a fit can go back to."""
WARM_UP = 9
"""The running average covers about the last tenth of the iterations, until that is more than its weight allows."""
COMPACT_SHARE = 1 / 8
"""Of the images still fitted; when as many have stopped, the others are worth a smaller network."""
COMPILED_COMPACT_SHARE = 1 / 2
"""The same where that network has to be compiled first."""

Penalty: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""From outputs (n, C, H, W) and their places in the batch, int64 (n,), to what is added to each one's loss, (n,)."""
InputSource: TypeAlias = Callable[[Tensor], Tensor]
"""From places in the batch, int64 (n,), to what these networks see at this iteration, (n, input_channels, h, w)."""


class PriorBatch(nn.Module):
    """Fit B priors to B measurements: minimise the mean of |A f(z) - y|^p, p = 2 (1 where noise is salt-and-pepper).

    Ulyanov et al., CVPR 2018: z is U(0, 0.1), drawn once; each iteration adds fresh Gaussian noise to it. All priors
    share z, its noise and the starting weights, so each image is fitted as it would be alone with the same seed,
    whichever images are beside it (up to rounding). All random draws come from one generator of this batch.

    `restored` is the running average of outputs, o <- w o + (1 - w) f(z), with w rising from 0 as t / (t + 9) to
    `average`: unlike the original's constant weight, the first outputs are soon forgotten. With `sgld`, Gaussian noise
    on the convolutions makes the iterations stochastic gradient Langevin dynamics (Cheng et al., CVPR 2019), and the
    average their posterior mean. When the fit of an image falls by `backtrack` dB within 10 iterations, its weights and
    its optimiser's moments go back to where they were.

    What each image has come to is in buffers of a row for each, (B, ...).
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
    ) -> None:
        """`y` are B measurements of images of `shape` (C, H, W); `truth` (B, C, H, W) is for reporting only.

        Raises UserError for a stopping rule that can't work with this noise.
        """
        super().__init__()
        device, count = y.device, len(y)
        self.y, self.degradation, self.options, self.truth = y, degradation, options, truth
        self.rule_name, self.expected_residual = _stopping_rule(options, degradation, y)
        """The stopping rule: that of the options, or what serves this noise; and the residual that noise leaves."""
        # Drawn on the CPU, so that every device starts from the same point.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "network"))
            self.priors = Priors(shape, options, count, device)
            size = self.priors.network.input_size(*shape[1:])  # type: ignore[operator]
            self.z = 0.1 * torch.rand(1, options.input_channels, *size).to(device)
            share = options.held_out if self.rule_name == "held-out" else 0.0
            hidden = torch.rand(y.shape[1:]) < share
        self.generator = torch.Generator(device).manual_seed(derive(seed, "fit"))

        measured = degradation.operator.measured(y)
        self.held_out_mask = measured * hidden.to(device)
        self.fit_mask = measured - self.held_out_mask
        self.penalty: Penalty | None = None
        """Added to what is minimised; what is reported and what stops a fit is the data error alone."""
        self.input_source: InputSource | None = None
        """Makes what the networks see in place of the z that all share."""
        self.operator = degradation.operator
        """The operator of the images still fitted."""
        self.power = 1 if degradation.noise.kind == "salt-and-pepper" else 2
        full_shape = torch.Size((count, *shape))
        self.stopping = Stopping(self._make_rule(full_shape), full_shape, options.patience, device)
        self.step = 0
        self.restored: Tensor = nn.Buffer(torch.zeros(full_shape, device=device))
        self.loss: Tensor = nn.Buffer(torch.zeros(count, device=device))
        self.output: Tensor = nn.Buffer(torch.zeros(full_shape, device=device))
        self.peak: Tensor = nn.Buffer(torch.full((count,), -torch.inf, device=device))
        """The best PSNR that `restored` ever had."""
        self.peak_at: Tensor = nn.Buffer(torch.zeros(count, dtype=torch.long, device=device))
        """The iteration of the peak."""
        self.backtracked: Tensor = nn.Buffer(torch.zeros(count, dtype=torch.long, device=device))
        """The iteration at which the image last went back; 0: it never did."""
        self.good_loss: Tensor = nn.Buffer(torch.full((count,), torch.inf, device=device))
        """The loss to go back to, (n,): of the images still fitted."""

    def __len__(self) -> int:
        return len(self.y)

    @property
    def network(self) -> nn.Module:
        """The network of the images still fitted."""
        return self.priors.network

    @property
    def indices(self) -> Tensor:
        """Which images are still fitted, int64 (n,)."""
        return self.stopping.indices

    def step_once(self) -> None:
        """One iteration. Nothing is read from the device."""
        options = self.options
        noise = torch.randn(self.z.shape, generator=self.generator, device=self.z.device)
        z = self.z if self.input_source is None else self.input_source(self.indices)
        output = self.priors.forward(z + options.input_noise * noise)
        loss = self._error(output, self.fit_mask)
        self.priors.step(loss if self.penalty is None else loss + self.penalty(output, self.indices))
        self.step += 1
        with torch.no_grad():
            if options.sgld:
                self.priors.add_langevin_noise(options.sgld * options.lr, self.generator)
            self._record(output.detach(), loss.detach())
            if options.backtrack and self.step % CHECK_EVERY == 0:
                self._checkpoint_or_rollback(loss.detach())

    def compact_if_worthwhile(self) -> None:
        """Leave out the images that have stopped, once they are an eighth of those fitted; half where networks are
        compiled. Waits for the device.
        """
        active = self.stopping.stopped_at[self.indices] == 0
        stopped = len(active) - int(active.sum())
        share = COMPILED_COMPACT_SHARE if self.options.compile else COMPACT_SHARE
        if share * len(active) <= stopped < len(active):
            self.compact(active.nonzero().flatten())

    def compact(self, rows: Tensor) -> None:
        """Go on with a smaller network, of these rows of the images still fitted, int64 (n,).

        What is known of the others stays as it is; these are fitted as they would have been (up to rounding).
        """
        self.priors.select(rows)
        self.stopping.select(rows)
        self.good_loss = self.good_loss[rows]
        self.operator = self.degradation.operator.select(self.indices.tolist())

    def _record(self, output: Tensor, loss: Tensor) -> None:
        iterations_before = self.step - 1
        weight = min(self.options.average, iterations_before / (iterations_before + WARM_UP))
        restored = output if weight == 0 else torch.lerp(output, self.restored[self.indices], weight)
        self.loss = self.loss.index_copy(0, self.indices, loss)
        self.output = self.output.index_copy(0, self.indices, output)
        self.restored = self.restored.index_copy(0, self.indices, restored)
        if self.truth is not None:
            current_psnr = psnr(self.restored, self.truth)
            better = current_psnr > self.peak
            self.peak = torch.where(better, current_psnr, self.peak)
            self.peak_at = torch.where(better, self.step, self.peak_at)
        held_out_error = self._error(restored, self.held_out_mask) if self.rule_name == "held-out" else None
        self.stopping.update(StopInput(self.step, self.indices, output, restored, loss, held_out_error))

    def _error(self, images: Tensor, where: Tensor) -> Tensor:
        """Mean of |A x - y|^p over some of the measured values, (n,)."""
        where = where[self.indices]
        difference = (self.operator.A(images) - self.y[self.indices]) * where
        error = difference.square() if self.power == 2 else difference.abs()
        return error.flatten(1).sum(1) / where.flatten(1).sum(1)

    def _make_rule(self, shape: torch.Size) -> Rule:
        options, device = self.options, self.y.device
        if self.rule_name == "variance":
            return MovingVariance(shape, options.window, device)
        if self.rule_name == "held-out":
            return held_out
        if self.rule_name == "never":
            return never
        if self.expected_residual is None:
            problem = "The discrepancy principle needs a noise level, and this task has none."
            raise UserError(problem, "Give the task a sigma, or use dip.stop=variance or held-out.")
        return discrepancy(options.discrepancy * self.expected_residual)

    def _checkpoint_or_rollback(self, loss: Tensor) -> None:
        """Take back the images whose fit fell, or that are no longer finite."""
        allowed = self.good_loss * 10 ** (self.options.backtrack * self.power / 20)
        diverged = ~(loss <= allowed)
        self.priors.checkpoint_or_rollback(diverged)
        self.good_loss = torch.where(diverged, self.good_loss, loss)
        last = torch.where(diverged, self.step, self.backtracked[self.indices])
        self.backtracked = self.backtracked.index_copy(0, self.indices, last)

    def get_extra_state(self) -> dict[str, Any]:
        """What an exact resume needs beside the buffers."""
        return {"priors": self.priors.state_dict(), "generator": self.generator.get_state(), "step": self.step}

    def set_extra_state(self, state: StateDict) -> None:
        """The inverse of `get_extra_state`."""
        self.priors.load_state_dict(state["priors"])
        self.generator.set_state(state["generator"].cpu())
        self.step = state["step"]

    def load_state_dict(self, state: StateDict, strict: bool = True, assign: bool = False) -> Any:
        """Go on from where `state_dict` was called between two iterations, with the same measurements and options."""
        rows = state["stopping.indices"].to(self.y.device)
        if len(rows) < len(self.indices):
            self.compact(rows)
        return super().load_state_dict(state, strict, assign)


def _stopping_rule(options: DipConfig, degradation: Degradation, y: Tensor) -> tuple[str, Tensor | None]:
    """The rule that `auto` stands for, else the one asked for; and the residual to be expected, (B,), where known.

    Without a noise level the moving variance finds no stop on small noisy images. On eight training images of 28x28 it
    gave 18.3 dB with impulses, where held-out values gave 21.7 and the peak was 22.9, and 16.9 dB with noise of
    sigma 50 that nobody told of, where the discrepancy with the estimated sigma gave 22.2 and the peak was 22.4.
    """
    expected = degradation.expected_residual(y)
    if options.stop != "auto":
        return options.stop, expected
    if degradation.noise.kind == "salt-and-pepper":
        return "held-out", None
    if degradation.blind:
        try:
            expected = with_noise_level(y, degradation).expected_residual(y)
        except UserError:
            return "held-out", None
    return ("variance" if expected is None else "discrepancy"), expected
