from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import msgspec
import pytest
import torch
from torch import Tensor, nn

from dipddpm.core import data
from dipddpm.core.config import DipConfig, parse_task
from dipddpm.core.degrade import degrade
from dipddpm.core.dip.batch import PriorBatch
from dipddpm.core.errors import UserError
from dipddpm.core.images import to_unit

SMALL = DipConfig(
    scales=2, input_noise=0.01, channels=6, skip_channels=2, input_channels=4, window=3, stop="variance", patience=50
)
TRUTH = torch.rand(3, 1, 12, 13, generator=torch.Generator().manual_seed(0))
SHAPE = (1, 12, 13)


def options(**changes: object) -> DipConfig:
    return msgspec.structs.replace(SMALL, **changes)


def batch(
    chosen: DipConfig, task: str = "denoise", indices: list[int] | None = None, *, known: bool = True, seed: int = 3
) -> PriorBatch:
    indices = indices or [0, 1, 2]
    truth = TRUTH[indices].to(torch.get_default_dtype())
    y, degradation = degrade(parse_task(task), truth, indices)
    return PriorBatch(y, degradation, chosen, SHAPE, seed=seed, truth=truth if known else None)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("network", ["skip", "decoder"])
@pytest.mark.parametrize("task", ["denoise", "inpaint:missing=0.5", "superres:factor=2"])
def test_prior_batch_matches_fits_of_single_images(network: str, task: str) -> None:
    """A network of three priors fits each image as a network of its own does, over a few steps in float64."""
    chosen = options(network=network, sgld=0.5)
    together = batch(chosen, task)
    alone = [batch(chosen, task, [index]) for index in range(3)]
    for _ in range(6):
        for fit in (together, *alone):
            fit.step_once()
    assert torch.allclose(together.restored, torch.cat([fit.restored for fit in alone]), atol=1e-9)
    assert torch.allclose(together.loss, torch.cat([fit.loss for fit in alone]), atol=1e-9)
    assert torch.allclose(together.stopping.best, torch.cat([fit.stopping.best for fit in alone]), rtol=1e-6)


@pytest.mark.parametrize("task", ["denoise", "denoise:noise=salt-and-pepper", "deblur:sigma=2"])
def test_prior_batch_lowers_its_loss(task: str) -> None:
    fit = batch(options(lr=0.02), task)
    fit.step_once()
    first = fit.loss
    for _ in range(60):
        fit.step_once()
    assert (fit.loss < 0.8 * first).all()


def test_prior_batch_result_ignores_truth() -> None:
    with_truth, without = batch(SMALL), batch(SMALL, known=False)
    for _ in range(12):
        with_truth.step_once()
        without.step_once()
    assert torch.equal(with_truth.restored, without.restored)
    assert torch.equal(with_truth.stopping.restored, without.stopping.restored)


def test_prior_batch_depends_on_seed() -> None:
    fits = [batch(SMALL, seed=seed) for seed in (1, 1, 2)]
    for fit in fits:
        fit.step_once()
    assert torch.equal(fits[0].restored, fits[1].restored)
    assert not torch.equal(fits[0].restored, fits[2].restored)


@pytest.mark.parametrize("cut", [4, 10, 13])
def test_prior_batch_resumes_exactly(cut: int) -> None:
    chosen = options(sgld=0.5, backtrack=0.5)
    whole, first, second = batch(chosen), batch(chosen), batch(chosen)
    for _ in range(25):
        whole.step_once()
    for _ in range(cut):
        first.step_once()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for _ in range(25 - cut):
        second.step_once()
    assert torch.equal(second.restored, whole.restored)
    assert torch.equal(second.stopping.restored, whole.stopping.restored)
    assert torch.equal(second.peak, whole.peak)
    assert torch.equal(second.backtracked, whole.backtracked)


def test_prior_batch_average_follows_definition() -> None:
    """The weight w rises as t / (t + 9) up to its limit; a limit of 0 turns averaging off."""
    outputs: list[Tensor] = []
    fit, without_average = batch(options(average=0.6)), batch(options(average=0.0))
    expected = torch.zeros(())
    for t in range(20):
        fit.step_once()
        without_average.step_once()
        outputs.append(without_average.restored)
        weight = min(0.6, t / (t + 9))
        expected = weight * expected + (1 - weight) * outputs[-1]
    assert torch.allclose(fit.restored, expected, atol=1e-5)


def weights_of(fit: PriorBatch, image: int) -> list[Tensor]:
    return [row[image].clone() for row in fit.priors.rows()]


def test_prior_batch_backtracks_only_image_that_fell() -> None:
    """The image's weights and both moments return to its last good state; the other images don't change."""
    fit = batch(options(backtrack=5.0))
    for _ in range(10):
        fit.step_once()
    good = weights_of(fit, 1)
    with torch.no_grad():
        for row in fit.priors.rows():
            row[1] += 3.0
    for _ in range(9):
        fit.step_once()
    fit.good_loss[1] = 1e-6
    other = batch(options(backtrack=0.0))
    for _ in range(19):
        other.step_once()
    fit.step_once()
    other.step_once()
    assert fit.backtracked.tolist() == [0, 20, 0]
    assert all(torch.equal(a, b) for a, b in zip(weights_of(fit, 1), good, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(weights_of(fit, 0), weights_of(other, 0), strict=True))


def test_prior_batch_backtracks_image_no_longer_finite() -> None:
    fit = batch(options(backtrack=5.0))
    for _ in range(10):
        fit.step_once()
    with torch.no_grad():
        fit.priors.rows()[0][2] = torch.nan
    for _ in range(10):
        fit.step_once()
    assert fit.backtracked.tolist() == [0, 0, 20]
    fit.step_once()
    assert torch.isfinite(fit.loss).all()


def test_prior_batch_never_fits_held_out_values() -> None:
    fit = batch(options(stop="held-out", held_out=0.3), "inpaint:missing=0.4")
    measured = fit.degradation.operator.measured(fit.y)
    assert torch.equal(fit.held_out_mask + fit.fit_mask, measured)
    assert 0.1 < fit.held_out_mask.sum() / measured.sum() < 0.5
    twin = batch(options(stop="held-out", held_out=0.3), "inpaint:missing=0.4")
    twin.y = twin.y + 9 * twin.held_out_mask
    for _ in range(5):
        fit.step_once()
        twin.step_once()
    assert torch.equal(fit.restored, twin.restored)
    assert not torch.equal(fit.stopping.best, twin.stopping.best)


@pytest.mark.parametrize("task", ["denoise:noise=salt-and-pepper", "superres:factor=2"])
def test_discrepancy_rule_is_refused_without_noise_level(task: str) -> None:
    with pytest.raises(UserError, match="needs a noise level"):
        batch(options(stop="discrepancy"), task)


@pytest.mark.parametrize(
    ("task", "rule"),
    [
        ("denoise", "discrepancy"),
        ("denoise:noise=poisson,blind=true", "discrepancy"),
        ("denoise:noise=salt-and-pepper", "held-out"),
        ("inpaint:missing=0.9,sigma=5,blind=true", "held-out"),
        ("superres", "variance"),
    ],
)
def test_auto_stop_rule_suits_noise(task: str, rule: str) -> None:
    assert batch(options(stop="auto"), task).rule_name == rule


def test_auto_stop_rule_estimates_blind_noise_level() -> None:
    y, degradation = degrade(parse_task("denoise:sigma=50,blind=true"), torch.full((4, 1, 28, 28), 0.5), range(4))
    fit = PriorBatch(y, degradation, options(stop="auto", discrepancy=1.0), (1, 28, 28))
    assert fit.rule_name == "discrepancy" and fit.expected_residual is not None
    assert fit.expected_residual.sqrt() * 255 == pytest.approx(50, rel=0.15)


def test_penalty_moves_only_its_image_and_zero_changes_nothing() -> None:
    def pull_to_zero(outputs: Tensor, indices: Tensor) -> Tensor:
        return strength[indices] * outputs.square().flatten(1).mean(1)

    strength = torch.zeros(3)
    without_penalty, penalised = batch(SMALL), batch(SMALL)
    penalised.penalty = pull_to_zero
    for _ in range(30):
        without_penalty.step_once()
        penalised.step_once()
    assert torch.equal(without_penalty.restored, penalised.restored)
    strength[1] = 100.0
    for _ in range(30):
        without_penalty.step_once()
        penalised.step_once()
    assert torch.equal(without_penalty.restored[[0, 2]], penalised.restored[[0, 2]])
    assert penalised.output[1].mean() < 0.5 * without_penalty.output[1].mean()
    assert penalised.loss[1] > without_penalty.loss[1]  # the reported loss is the data error alone


def compacted(chosen: DipConfig, steps: int, task: str = "denoise") -> PriorBatch:
    """Fit a batch of three whose middle image stops, and is left out, after four iterations."""
    fit = batch(chosen, task)
    for _ in range(4):
        fit.step_once()
    fit.stopping.stopped_at[1] = fit.step
    fit.compact_if_worthwhile()
    for _ in range(steps - 4):
        fit.step_once()
    return fit


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("network", ["skip", "decoder"])
@pytest.mark.parametrize(
    ("task", "stop"),
    [("denoise", "variance"), ("denoise", "discrepancy"), ("inpaint:missing=0.5,sigma=5", "held-out")],
)
def test_compact_leaves_other_images_unchanged(network: str, task: str, stop: str) -> None:
    """Weights, moments, z, checkpoints and the stopping rule's state continue as they would have without `compact`."""
    chosen = options(network=network, stop=stop, sgld=0.5, patience=90)
    fit, whole = compacted(chosen, 24, task), batch(chosen, task)
    for _ in range(24):
        whole.step_once()
    assert fit.indices.tolist() == [0, 2]
    assert (
        sum(p.numel() for p in fit.network.parameters()) * 3 == sum(p.numel() for p in whole.network.parameters()) * 2
    )
    for name in ("restored", "output", "loss", "peak"):
        assert torch.allclose(getattr(fit, name)[[0, 2]], getattr(whole, name)[[0, 2]], atol=1e-9)
    assert torch.allclose(fit.stopping.restored[[0, 2]], whole.stopping.restored[[0, 2]], atol=1e-9)
    assert torch.allclose(fit.stopping.best[[0, 2]], whole.stopping.best[[0, 2]], rtol=1e-6)
    assert torch.equal(fit.stopping.best_iteration[[0, 2]], whole.stopping.best_iteration[[0, 2]])
    for actual, expected in zip(fit.priors.checkpoint_rows, whole.priors.checkpoint_rows, strict=True):
        assert torch.allclose(actual, expected[[0, 2]], atol=1e-9)


def test_compact_preserves_results_of_stopped_image() -> None:
    early, late = compacted(SMALL, 4), compacted(SMALL, 24)
    for name in ("restored", "output", "loss", "peak", "peak_at", "backtracked"):
        assert torch.equal(getattr(early, name)[1], getattr(late, name)[1])
        assert not torch.equal(getattr(early, name)[0], getattr(late, name)[0]) or name == "backtracked"
    assert torch.equal(early.stopping.restored[1], late.stopping.restored[1])


def test_stopped_image_is_not_marked_as_backtracked() -> None:
    fit = compacted(options(backtrack=5.0), 12)
    fit.good_loss[1] = 1e-9
    for _ in range(8):
        fit.step_once()
    assert fit.backtracked.tolist() == [0, 0, 20]


def test_prior_batch_resumes_exactly_with_stopped_images() -> None:
    chosen = options(sgld=0.5, backtrack=0.5)
    whole, first, second = compacted(chosen, 25), compacted(chosen, 13), batch(chosen)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for _ in range(12):
        second.step_once()
    assert second.indices.tolist() == [0, 2]
    assert torch.equal(second.restored, whole.restored)
    assert torch.equal(second.stopping.restored, whole.stopping.restored)
    assert torch.equal(second.backtracked, whole.backtracked)


def test_penalty_receives_indices_of_remaining_images() -> None:
    received: list[list[int]] = []

    def record(outputs: Tensor, indices: Tensor) -> Tensor:
        received.append(indices.tolist())
        return 0 * outputs.flatten(1).mean(1)

    fit = batch(SMALL)
    fit.penalty = record
    fit.step_once()
    fit.stopping.stopped_at[0] = 1
    fit.compact_if_worthwhile()
    fit.step_once()
    assert received == [[0, 1, 2], [1, 2]]


def test_compact_waits_until_enough_images_stopped() -> None:
    y, degradation = degrade(parse_task("denoise"), TRUTH[[0] * 17], range(17))
    fit = PriorBatch(y, degradation, SMALL, SHAPE)
    fit.stopping.stopped_at[:2] = 1
    fit.compact_if_worthwhile()
    assert fit.priors.count == 17
    fit.stopping.stopped_at[2] = 1
    fit.compact_if_worthwhile()
    assert fit.priors.count == 14
    fit.stopping.stopped_at[:] = 1
    fit.compact_if_worthwhile()
    assert fit.priors.count == 14
    assert fit.stopping.all_stopped


@pytest.mark.slow
def test_bfloat16_prior_batch_restores_as_well_as_float32() -> None:
    """Compares mean peak PSNR over images of clothes; single images differ as much as they do between seeds."""
    truth = to_unit(data.load("fashion-mini", "test").images[:4])
    y, degradation = degrade(parse_task("denoise:sigma=25"), truth, range(4))
    fits = [
        PriorBatch(y, degradation, DipConfig(precision=precision), (1, 28, 28), truth=truth)
        for precision in ("float32", "bfloat16")
    ]
    for fit in fits:
        for _ in range(200):
            fit.step_once()
    whole, half = fits
    assert half.restored.dtype == torch.float32
    assert not torch.equal(half.restored, whole.restored)
    assert half.peak.mean() > whole.peak.mean() - 0.3


def test_compiled_prior_batch_matches_eager_and_recompiles_on_compact(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Trace the real network but run eager kernels, which need no compilation."""
    monkeypatch.setattr(torch, "compile", partial(_compile_quickly, torch.compile))
    fits = [batch(options(scales=1, compile=faster)) for faster in (False, True)]
    for fit in fits:
        for _ in range(8):
            fit.step_once()
    eager, compiled = fits
    torch.testing.assert_close(compiled.restored, eager.restored, rtol=0, atol=1e-4)
    compiled.stopping.stopped_at[0] = 1
    compiled.compact_if_worthwhile()
    assert len(compiled.indices) == 3, "a third of stopped images is not worth compiling a smaller network"
    for fit in fits:
        fit.stopping.stopped_at[:2] = 1
        fit.compact_if_worthwhile()
        assert fit.indices.tolist() == [2]
        for _ in range(4):
            fit.step_once()
    torch.testing.assert_close(compiled.restored, eager.restored, rtol=0, atol=1e-4)


def _compile_quickly(
    compiler: Callable[..., Callable[..., Tensor]], network: nn.Module, *, dynamic: bool, mode: str
) -> Callable[..., Tensor]:
    assert mode == "default"
    return compiler(network, dynamic=dynamic, backend="aot_eager")
