from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor

from dipddpm.core.compute import checkpoint
from dipddpm.core.config import DdpmConfig
from dipddpm.core.ddpm.networks.tutorial import TutorialNetwork
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.training import DdpmTraining
from dipddpm.core.errors import UserError
from dipddpm.core.events import BestModel, EpochFinished, Item, Step
from tests.core.steps import count_steps, until_step
from tests.helpers import Plain

IMAGES = torch.randint(256, (6, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def training(*, images: Tensor = IMAGES, seed: int = 0, weights: int = 0, **given: Any) -> DdpmTraining:
    """Make a training whose epochs have two steps: 6 images in batches of 4 and 2."""
    torch.manual_seed(weights)
    options = {name: given.pop(name) for name in ("epochs", "batch_size", "lr", "passes") if name in given}
    network = TutorialNetwork(timesteps=50)
    schedule = Schedule.from_config(DdpmConfig(timesteps=50))
    config = DdpmConfig(**{"epochs": 2, "batch_size": 4, **options})
    return DdpmTraining(network, schedule, images, config, seed=seed, **given)


def without_bands(item: Any) -> Any:
    return msgspec.structs.replace(item, bands=[]) if isinstance(item, EpochFinished) else item


def test_training_epoch_takes_every_image_once() -> None:
    run = training(epochs=1)
    batches: list[Tensor] = []
    for _ in range(2):
        batches.append(run.batch())
        next(iter(run))
    assert [len(batch) for batch in batches] == [4, 2]
    everything = ((torch.cat(batches) + 1) * 127.5).round().to(torch.uint8)
    assert sorted(map(str, everything.tolist())) == sorted(map(str, IMAGES.tolist()))


def test_several_passes_make_one_epoch_that_takes_every_image_as_often() -> None:
    run = training(epochs=1, passes=3)
    batches: list[Tensor] = []
    items: list[Item] = []
    for item in run:
        items.append(item)
        if isinstance(item, Step):
            batches.append(run._order)
    assert len(run) == run.step == 5  # 18 images in batches of 4
    assert torch.bincount(batches[0]).tolist() == [3] * 6
    (finished,) = [item for item in items if isinstance(item, EpochFinished)]
    losses = [item.loss or 0 for item in items if isinstance(item, Step)]
    assert finished.loss == pytest.approx(sum(n * loss for n, loss in zip((4, 4, 4, 4, 2), losses, strict=True)) / 18)


def test_epoch_loss_is_mean_over_images() -> None:
    items = list(training(epochs=1))
    losses = [item.loss for item in items if isinstance(item, Step)]
    (finished,) = [item for item in items if isinstance(item, EpochFinished)]
    assert all(loss is not None for loss in losses)
    assert finished.loss == pytest.approx(sum(n * (loss or 0) for n, loss in zip((4, 2), losses, strict=True)) / 6)


def test_training_step_is_adam_step_on_predicted_noise() -> None:
    """The first step equals one written with tensor operations, whose random draws come in the same order."""
    run = training(epochs=1, batch_size=6, lr=1e-2)
    schedule = run.schedule
    before = {name: p.detach().clone() for name, p in run.network.named_parameters()}
    draws = torch.Generator()
    draws.set_state(run.generator.get_state())
    x0 = run.batch()
    t = torch.randint(50, (6,), generator=draws)
    eps = torch.randn(x0.shape, generator=draws)
    a = schedule.alpha_bar[t].view(-1, 1, 1, 1).float()
    loss = (run.network(a.sqrt() * x0 + (1 - a).sqrt() * eps, t) - eps).square().mean()
    used = [name for name in before if not name.startswith("up.2.2.norm")]
    gradients = torch.autograd.grad(loss, [dict(run.network.named_parameters())[name] for name in used])
    step = next(item for item in run if isinstance(item, Step))
    assert step.loss is not None
    assert step.loss == pytest.approx(loss.item())
    for name, gradient in zip(used, gradients, strict=True):
        # In Adam's first step both bias-corrected moments are known: the gradient and its square.
        moved = (run.network.get_parameter(name) - before[name]).detach()
        clear = gradient.abs() > 1e-5  # rounding may change the sign of smaller gradients
        torch.testing.assert_close(moved[clear], -1e-2 * gradient[clear].sign(), rtol=5e-3, atol=1e-7)


def test_best_model_precedes_its_epoch() -> None:
    items = [item for item in training(epochs=6, lr=0.02) if not isinstance(item, Step)]
    best = float("inf")
    while items:
        stored = items[0] if isinstance(items[0], BestModel) else None
        del items[: stored is not None]
        finished = items.pop(0)
        assert isinstance(finished, EpochFinished)
        assert finished.best == (stored is not None) == (finished.loss < best)
        if stored is not None:
            assert (stored.epoch, stored.step, stored.value) == (finished.epoch, finished.step, finished.loss)
        best = min(best, finished.loss)


@pytest.mark.parametrize("held_out", [None, IMAGES[:3]])
def test_training_resumes_exactly(tmp_path: Path, held_out: Tensor | None, plain: Plain) -> None:
    whole = training(held_out=held_out)
    items = [plain(item) for item in whole]
    for stop_after in range(count_steps(items) + 1):
        stopped = training(held_out=held_out)
        first_items = [plain(item) for item in until_step(stopped, stop_after)]
        checkpoint.save(tmp_path / "last.safetensors", stopped.state_dict())
        resumed = training(weights=1, held_out=held_out)
        resumed.load_state_dict(checkpoint.load_state(tmp_path / "last.safetensors"))
        assert first_items + [plain(item) for item in resumed] == items
        for name, weight in whole.network.state_dict().items():
            assert torch.equal(resumed.network.state_dict()[name], weight), name


def test_training_is_unaffected_by_global_generator(plain: Plain) -> None:
    quiet = [plain(item) for item in training()]
    noisy = []
    for item in training():
        torch.randn(7)
        noisy.append(plain(item))
    assert noisy == quiet


def test_training_depends_on_seed(plain: Plain) -> None:
    first, second = (next(iter(training(seed=seed))) for seed in (0, 1))
    assert plain(first) != plain(second)


def test_training_read_every_does_not_change_results() -> None:
    often, seldom = (training(batch_size=2, read_every=n) for n in (1, 2))
    every, second = list(often), list(seldom)
    assert [item.step for item in second if isinstance(item, Step)] == [2, 3, 5, 6]
    losses = [[i.loss for i in items if isinstance(i, EpochFinished)] for items in (every, second)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert torch.equal(often.network.get_parameter("out.weight"), seldom.network.get_parameter("out.weight"))


def test_training_selects_best_model_by_repeatable_held_out_loss() -> None:
    run = training(held_out=IMAGES, lr=1e-12)
    finished = [item for item in run if isinstance(item, EpochFinished)]
    # The weights hardly change, so equal losses show that the noise is the same each time.
    assert finished[0].held_out == pytest.approx(finished[1].held_out, rel=1e-5)
    assert finished[0].loss != pytest.approx(finished[1].loss, rel=1e-5)
    assert {item.measure for item in training(held_out=IMAGES) if isinstance(item, BestModel)} == {"held_out"}
    assert run.network.training


def test_training_raises_on_diverged_loss_without_best_model() -> None:
    run = training(lr=1e20)
    items: list[Item] = []
    with pytest.raises(UserError, match="loss became"):
        items.extend(iter(run))
    assert not any(isinstance(item, BestModel) for item in items)


def test_training_input_transform_passes_no_gradient(plain: Plain) -> None:
    weight = torch.ones(1, requires_grad=True)
    shapes = []

    def transform(xt: Tensor, t: Tensor) -> Tensor:
        shapes.append((xt.shape, t.shape))
        return weight * xt

    items = [plain(item) for item in training(input_transform=transform)]
    assert shapes[0] == ((4, 1, 28, 28), (4,))
    assert weight.grad is None
    # Bands are not measured, since a transform may have state and is called for training steps only.
    assert items == [without_bands(plain(item)) for item in training()]


def test_training_refuses_empty_images() -> None:
    with pytest.raises(ValueError, match="no images"):
        training(images=IMAGES[:0])


@pytest.mark.slow
def test_short_training_beats_constant_prediction() -> None:
    """After 64 steps on real images the published network reaches a loss of 0.50; a constant prediction has 1."""
    from dipddpm.core.data import load

    images = load("fashion-mini", "train").images[:512]
    losses = [item.loss for item in training(images=images, epochs=4, batch_size=32) if isinstance(item, Step)]
    assert sum(loss or 1 for loss in losses[-10:]) / 10 < 0.6


@pytest.mark.parametrize("options", [{}, {"ema": 0.5}, {"clip": 1.0}], ids=str)
@pytest.mark.parametrize("held_out", [None, IMAGES[:4]])
def test_weights_spoilt_by_last_step_are_no_best_model(options: dict[str, Any], held_out: Tensor | None) -> None:
    """The only step's loss is finite, but after it all predictions are NaN or infinite."""
    torch.manual_seed(0)
    schedule = Schedule.from_config(DdpmConfig(timesteps=50))
    config = DdpmConfig(epochs=1, batch_size=6, lr=1e38, **options)
    run = DdpmTraining(TutorialNetwork(timesteps=50), schedule, IMAGES, config, held_out=held_out)
    items: list[Item] = []
    with pytest.raises(UserError, match=r"not finite.*Lower the learning rate \(ddpm\.lr\) and run again\.$"):
        items.extend(run)
    assert not items


def test_refusal_after_a_best_model_names_its_epoch() -> None:
    run = training(epochs=3)
    with pytest.raises(UserError, match=r"run again\. The best model, of epoch 1, is stored\.$"):
        for item in run:
            if isinstance(item, EpochFinished):
                with torch.no_grad():
                    next(run.network.parameters()).fill_(torch.nan)


def test_weights_spoilt_by_last_step_are_seen_without_validation() -> None:
    """With an `input_transform` there may be no error to look at."""
    run = training(epochs=1, lr=1e38, batch_size=6, input_transform=lambda xt, _: xt)
    with torch.no_grad():
        next(run.network.parameters()).fill_(torch.inf)
    with pytest.raises(UserError, match=r"finite|became"):
        list(run)
