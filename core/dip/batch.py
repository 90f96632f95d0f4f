"""The DIP fit of several images of one size, by one network that holds a prior for each image."""

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
"""Iterations between two checks of the loss; each checkpoints the images that fit well and rolls back the others."""
MAX_FAILURES = 3
"""Checks in a row with a loss that isn't finite after which the fit of an image is given up."""
WARM_UP = 9
"""Constant of the running average's warm-up t / (t + 9), during which it covers about the last tenth of iterations."""
COMPACT_SHARE = 1 / 8
"""Fraction of stopped images in the network at which the batch is compacted."""
COMPILED_COMPACT_SHARE = 1 / 2
"""The same fraction where the smaller network has to be compiled first."""
NEW_KEYS = {"failures", "diverged_at", "stopping.rule.finite"}
"""Keys that a checkpoint of an earlier version lacks."""

Penalty: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Maps outputs (n, C, H, W) and their indices in the batch, int64 (n,), to a term added to each image's loss, (n,)."""
InputSource: TypeAlias = Callable[[Tensor], Tensor]
"""Maps indices in the batch, int64 (n,), to the inputs of these priors at this iteration, (n, input_channels, h, w)."""


class PriorBatch(nn.Module):
    """A fit of B priors to B measurements that minimises the mean of |A f(z) - y|^p, p = 2 (1 for salt-and-pepper).

    Ulyanov et al., CVPR 2018: z is U(0, 0.1), drawn once; each iteration adds fresh Gaussian noise to it. All priors
    share z, its noise and the starting weights, so an image is fitted as it would be alone with the same seed,
    independently of the other images in the batch (up to rounding). All random draws come from the batch's generator.

    `restored` is the running average of outputs, o <- w o + (1 - w) f(z), with w rising from 0 as t / (t + 9) to
    `average`. The original's weight is constant; the rising weight soon forgets the first outputs. With `sgld`,
    Gaussian noise on the convolutions makes the iterations stochastic gradient Langevin dynamics (Cheng et al., CVPR
    2019), and the average estimates the posterior mean. When the loss of an image rises by `backtrack` dB within 10
    iterations, or isn't finite, its weights and its optimiser's moments are rolled back. If the loss isn't finite at
    three checks in a row, or at the last iteration, the fit of the image is given up: it stops, and keeps its result.
    Outputs that aren't finite count nowhere: the last finite output stands for them.

    Results are buffers with one row for each image, (B, ...).
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
        """Set up the fit of B measurements `y` of images of `shape` (C, H, W).

        `truth` (B, C, H, W) is used for reports only. Raises UserError for a side of one pixel, and for a stopping
        rule that can't work with this noise.
        """
        super().__init__()
        device, count = y.device, len(y)
        self.y, self.degradation, self.options, self.truth = y, degradation, options, truth
        self.rule_name, self.expected_residual = _stopping_rule(options, degradation, y)
        """The name of the stopping rule (`auto` resolved for this noise), and the residual that noise alone leaves."""
        # Drawn on the CPU, so that every device starts from the same point.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "network"))
            self.priors = Priors(shape, options, count, device)
            size = self.priors.network.input_size(*shape[1:])  # type: ignore[operator]
            self.z = 0.1 * torch.rand(1, options.input_channels, *size).to(device)
            share = options.held_out if self.rule_name == "held-out" else 0.0
            held_out_pixels = torch.rand(y.shape[1:]) < share
        self.generator = torch.Generator(device).manual_seed(derive(seed, "fit"))

        measured = degradation.operator.measured(y)
        self.held_out_mask = measured * held_out_pixels.to(device)
        self.fit_mask = measured - self.held_out_mask
        self.penalty: Penalty | None = None
        """A term added to the loss that is minimised; reports and stopping rules use the data error alone."""
        self.input_source: InputSource | None = None
        """Makes an input for each prior, in place of the shared z."""
        self.operator = degradation.operator
        """The degradation operator of the images still fitted."""
        self.power = 1 if degradation.noise.kind == "salt-and-pepper" else 2
        full_shape = torch.Size((count, *shape))
        self.stopping = Stopping(self._make_rule(full_shape), full_shape, options.patience, device)
        self.step = 0
        self.last_step = options.iterations
        """The iteration after which the fit ends, if it hasn't stopped by then."""
        self.restored: Tensor = nn.Buffer(torch.zeros(full_shape, device=device))
        self.loss: Tensor = nn.Buffer(torch.zeros(count, device=device))
        self.output: Tensor = nn.Buffer(torch.zeros(full_shape, device=device))
        self.peak: Tensor = nn.Buffer(torch.full((count,), -torch.inf, device=device))
        """The best PSNR of `restored` so far."""
        self.peak_at: Tensor = nn.Buffer(torch.zeros(count, dtype=torch.long, device=device))
        """The iteration of the peak."""
        self.backtracked: Tensor = nn.Buffer(torch.zeros(count, dtype=torch.long, device=device))
        """The iteration at which the image was last rolled back; 0: never."""
        self.failures: Tensor = nn.Buffer(torch.zeros(count, dtype=torch.long, device=device))
        """The number of checks in a row, up to now, at which the loss of the image wasn't finite."""
        self.diverged_at: Tensor = nn.Buffer(torch.zeros(count, dtype=torch.long, device=device))
        """The iteration at which the fit of the image was given up; 0: it was not."""
        self.good_loss: Tensor = nn.Buffer(torch.full((count,), torch.inf, device=device))
        """The loss of the last good state of each image still fitted, (n,)."""

    def __len__(self) -> int:
        return len(self.y)

    @property
    def network(self) -> nn.Module:
        """The network of the images still fitted."""
        return self.priors.network

    @property
    def indices(self) -> Tensor:
        """The indices of the images still fitted, int64 (n,)."""
        return self.stopping.indices

    def step_once(self) -> None:
        """Do one iteration, without waiting for the device."""
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
            if self.step % CHECK_EVERY == 0 or self.step >= self.last_step:
                self._check(loss.detach())

    def compact_if_worthwhile(self) -> None:
        """Drop the stopped images once they are an eighth of the images in the network (half with `compile`).

        Waits for the device.
        """
        active = self.stopping.stopped_at[self.indices] == 0
        stopped = len(active) - int(active.sum())
        share = COMPILED_COMPACT_SHARE if self.options.compile else COMPACT_SHARE
        if share * len(active) <= stopped < len(active):
            self.compact(active.nonzero().flatten())

    def compact(self, rows: Tensor) -> None:
        """Continue with a smaller network that holds only these rows of the images still fitted, int64 (n,).

        The results of the other images stay as they are. The fit of these images doesn't change (up to rounding).
        """
        self.priors.select(rows)
        self.stopping.select(rows)
        self.good_loss = self.good_loss[rows]
        self.operator = self.degradation.operator.select(self.indices.tolist())

    def _record(self, output: Tensor, loss: Tensor) -> None:
        finite = output.flatten(1).isfinite().all(1).view(-1, 1, 1, 1)
        output = torch.where(finite, output, self.output[self.indices])
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
        """Return the mean of |A x - y|^p over the measured values in the mask `where`, (n,)."""
        where = where[self.indices]
        difference = (self.operator.A(images) - self.y[self.indices]) * where
        error = difference.square() if self.power == 2 else difference.abs()
        return error.flatten(1).sum(1) / where.flatten(1).sum(1)

    def _check(self, loss: Tensor) -> None:
        """Roll back or checkpoint each image by its loss, (n,), and give up those whose loss stays not finite."""
        at_end = self.step >= self.last_step
        failures = torch.where(loss.isfinite(), 0, self.failures[self.indices] + 1)
        most = MAX_FAILURES if self.options.backtrack and not at_end else 1
        if self.options.backtrack and self.step % CHECK_EVERY == 0:
            self._checkpoint_or_rollback(loss, failures)
        self.failures = self.failures.index_copy(0, self.indices, failures)
        lost = (self.failures >= most) & (self.stopping.stopped_at == 0)
        self.diverged_at = torch.where(lost, self.step, self.diverged_at)
        self.stopping.give_up(lost, self.step)

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

    def _checkpoint_or_rollback(self, loss: Tensor, failures: Tensor) -> None:
        """Roll back the images whose loss rose too far or isn't finite, and checkpoint the others.

        `failures` (n,) counts the checks in a row at which the loss wasn't finite; an image with too many is given up.
        """
        allowed = self.good_loss * 10 ** (self.options.backtrack * self.power / 20)
        diverged = ~(loss <= allowed)
        self.priors.checkpoint_or_rollback(diverged)
        self.good_loss = torch.where(diverged, self.good_loss, loss)
        rolled_back = diverged & (failures < MAX_FAILURES)
        last = torch.where(rolled_back, self.step, self.backtracked[self.indices])
        self.backtracked = self.backtracked.index_copy(0, self.indices, last)

    def get_extra_state(self) -> dict[str, Any]:
        """Return the state that an exact resume needs besides the buffers."""
        return {"priors": self.priors.state_dict(), "generator": self.generator.get_state(), "step": self.step}

    def set_extra_state(self, state: StateDict) -> None:
        """Restore the state that `get_extra_state` returned."""
        self.priors.load_state_dict(state["priors"])
        self.generator.set_state(state["generator"].cpu())
        self.step = state["step"]

    def load_state_dict(self, state: StateDict, strict: bool = True, assign: bool = False) -> Any:
        """Resume from a state taken between two iterations, with the same measurements and options."""
        rows = state["stopping.indices"].to(self.y.device)
        if len(rows) < len(self.indices):
            self.compact(rows)
        own = self.state_dict()
        return super().load_state_dict({**{key: own[key] for key in NEW_KEYS & own.keys()}, **state}, strict, assign)


def _stopping_rule(options: DipConfig, degradation: Degradation, y: Tensor) -> tuple[str, Tensor | None]:
    """Return the name of the rule (`auto` resolved), and the expected residual, (B,), where it is known.

    `auto` avoids the moving variance on noise, since it finds no good stop on small noisy images. On eight training
    images of 28x28 it gave 18.3 dB with impulses, where held-out values gave 21.7 dB and the peak was 22.9 dB; and
    16.9 dB with noise of an unknown sigma of 50, where the discrepancy with the estimated sigma gave 22.2 dB and the
    peak was 22.4 dB.
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
