from __future__ import annotations

import math

import msgspec
import pytest
import torch

from dipddpm.core.config import DipConfig, parse_task
from dipddpm.core.degrade import degrade
from dipddpm.core.dip.batch import PriorBatch
from dipddpm.core.dip.fit import DipFit
from dipddpm.core.errors import UserError
from dipddpm.core.events import EarlyStopped, Event, Item, Message, Pictures, PsnrMeasured, Step, StopsCompared
from dipddpm.core.metrics.image import psnr
from tests.core.steps import until_step

SMALL = DipConfig(scales=2, channels=6, skip_channels=2, input_channels=4, window=3, stop="variance", patience=4)


def batches(chosen: DipConfig, *, known: bool = True) -> list[PriorBatch]:
    """Make a batch of two images of 12x12 and a batch of one of 11x15."""
    made = []
    for count, height, width in ((2, 12, 12), (1, 11, 15)):
        truth = torch.rand(count, 1, height, width, generator=torch.Generator().manual_seed(height))
        y, degradation = degrade(parse_task("denoise:sigma=10"), truth, range(count))
        made.append(PriorBatch(y, degradation, chosen, (1, height, width), truth=truth if known else None))
    return made


def fit(
    iterations: int = 12, *, known: bool = True, run_on: bool = True, picture_every: int = 0, **changes: object
) -> DipFit:
    chosen = msgspec.structs.replace(SMALL, **changes)
    return DipFit(
        batches(chosen, known=known),
        [[0, 2], [1]],
        iterations=iterations,
        measure_every=5,
        picture_every=picture_every,
        run_on=run_on,
    )


def test_dip_fit_counts_iterations_once_for_all_images() -> None:
    made = fit()
    events = list(made)
    assert [event.step for event in events if isinstance(event, Step)] == list(range(1, 13))
    measured = [event for event in events if isinstance(event, PsnrMeasured)]
    assert [event.step for event in measured] == [5, 10, 12]
    last = measured[-1]
    expected = [made.batches[0].loss[0], made.batches[1].loss[0], made.batches[0].loss[1]]
    assert last.loss == pytest.approx([loss.item() for loss in expected])
    assert last.mean == pytest.approx(sum(last.psnr) / 3)
    assert len(last.ssim) == len(last.averaged) == 3


def test_dip_fit_restored_follows_order_of_images() -> None:
    made = fit()
    list(made)
    assert [tuple(image.shape[-2:]) for image in made.restored] == [(12, 12), (11, 15), (12, 12)]


def test_dip_fit_reports_each_stop_once_with_its_psnr() -> None:
    made = fit(iterations=40, patience=4)
    events = list(made)
    stops = {event.image: event for event in events if isinstance(event, EarlyStopped)}
    assert len([event for event in events if isinstance(event, EarlyStopped)]) == len(stops) == 3
    compared, last = events[-2:]
    assert isinstance(last, Step)
    assert isinstance(compared, StopsCompared)
    truths = made.gather(lambda batch: list(batch.truth))  # type: ignore[arg-type]
    for image, restored in enumerate(made.restored):
        value = psnr(restored.unsqueeze(0), truths[image].unsqueeze(0)).item()
        assert stops[image].psnr == pytest.approx(value)
        assert compared.psnr[image] == pytest.approx(value)
        assert compared.at[image] == stops[image].at
        assert compared.peak[image] >= max(value, compared.final[image]) - 1e-6


def test_dip_fit_ends_when_all_stopped_unless_run_on() -> None:
    short = fit(iterations=200, patience=2, run_on=False)
    stops = [event.step for event in short if isinstance(event, EarlyStopped)]
    assert short.step == max(stops) < 200
    long = fit(iterations=40, patience=2)
    list(long)
    assert long.step == 40


@pytest.mark.usefixtures("double")
def test_dip_fit_drops_stopped_images_without_changing_results() -> None:
    short, long = (fit(iterations=60, patience=6, lr=0.05, run_on=run_on) for run_on in (False, True))
    stops, stops_run_on = ({item.image: item.at for item in f if isinstance(item, EarlyStopped)} for f in (short, long))
    assert stops == stops_run_on
    for actual, expected in zip(short.restored, long.restored, strict=True):
        assert torch.allclose(actual, expected, atol=1e-6)
    assert [len(batch.indices) for batch in short.batches] == [1, 1]
    assert [len(batch.indices) for batch in long.batches] == [2, 1]


def test_dip_fit_without_truth_reports_no_psnr() -> None:
    events = list(fit(known=False))
    assert not [event for event in events if isinstance(event, PsnrMeasured | StopsCompared)]
    assert all(event.psnr is None for event in events if isinstance(event, EarlyStopped))


def test_dip_fit_yields_pictures_per_size_at_interval() -> None:
    pictures = [item for item in fit(picture_every=6) if isinstance(item, Pictures)]
    assert [(item.step, item.name) for item in pictures] == [
        (6, "fit-12x12"),
        (6, "fit-15x11"),
        (12, "fit-12x12"),
        (12, "fit-15x11"),
    ]
    assert [len(item.images) for item in pictures[:2]] == [6, 3]
    assert pictures[0].panels == ("degraded", "restored", "truth")


@pytest.mark.parametrize("steps", [1, 4, 5, 10, 12])
def test_dip_fit_resumes_after_any_step(steps: int) -> None:
    whole = [repr_of(item) for item in fit(picture_every=5)]
    first, second = fit(picture_every=5), fit(picture_every=5)
    items = [repr_of(item) for item in until_step(first, steps)]
    second.load_state_dict(first.state_dict())
    assert items + [repr_of(item) for item in second] == whole


def repr_of(item: object) -> str:
    return repr(item) if isinstance(item, Event) else f"{item}"


def test_dip_fit_reports_backtracking() -> None:
    made = fit(iterations=20)
    messages = []
    for item in made:
        if isinstance(item, Step) and item.step == 15:
            made.batches[1].good_loss.fill_(1e-9)
        if isinstance(item, Message):
            messages.append(item.text)
    assert messages == ["The loss of image 1 rose by 5 dB; its fit was rolled back at iteration 20"]


def spoil(batch: PriorBatch, image: int) -> None:
    """Make all weights of one image's prior NaN."""
    with torch.no_grad():
        for row in batch.priors.rows():
            row[image] = math.nan


@pytest.mark.parametrize("backtrack", [0.0, 5.0])
def test_image_no_longer_finite_is_given_up_alone(backtrack: float) -> None:
    """The fit of a NaN image ends with a warning and finite results; the others go on as if it weren't there."""
    undisturbed, made = (fit(iterations=60, backtrack=backtrack, run_on=False, patience=100) for _ in range(2))
    list(undisturbed)
    items = []
    for item in made:
        items.append(item)
        if isinstance(item, Step) and item.step >= 15:
            spoil(made.batches[1], 0)
    warnings = [item.text for item in items if isinstance(item, Message) and "diverged" in item.text]
    at = 20 if not backtrack else 40
    assert len(warnings) == 1
    assert f"The fit of image 1 diverged: its loss is nan at iteration {at}" in warnings[0]
    assert "dip.lr" in warnings[0]
    assert [item.image for item in items if isinstance(item, EarlyStopped)] == [0, 2]
    assert all(image.isfinite().all() for image in made.restored)
    for image in (0, 2):
        assert torch.equal(made.restored[image], undisturbed.restored[image])
    last = [item for item in items if isinstance(item, Step)][-1]
    assert (last.step, math.isfinite(last.loss or math.nan)) == (60, True)


@pytest.mark.parametrize(("iterations", "at"), [(7, 7), (10, 10), (60, 30)])
@pytest.mark.parametrize("lr", [1e30, 1e300])
def test_fit_fails_if_every_image_diverges(lr: float, iterations: int, at: int) -> None:
    items: list[Item] = []
    with pytest.raises(UserError, match=f"The fit diverged: .* at iteration {at}.*Lower dip.lr"):
        items.extend(fit(iterations=iterations, lr=lr))
    assert not [item for item in items if isinstance(item, Message) and "result" in item.text]


def test_rollback_of_first_iterations_returns_to_starting_weights() -> None:
    """A fit that was NaN at its first check goes on from its starting weights, and its average is finite again."""
    made = fit(iterations=40, run_on=True)
    for item in made:
        if isinstance(item, Step) and item.step == 5:
            spoil(made.batches[1], 0)
    assert made.batches[1].backtracked.tolist() == [10]
    assert made.batches[1].diverged_at.tolist() == [0]
    assert made.batches[1].loss.isfinite().all()
    assert made.batches[1].restored.isfinite().all()


@pytest.mark.parametrize(("iterations", "window", "patience"), [(11, 12, 200), (30, 31, 4), (3, 1000, 1)])
def test_rule_without_score_returns_last_iteration(iterations: int, window: int, patience: int) -> None:
    """A window larger than the fit gives the running average of the last iteration and names dip.window."""
    made = fit(iterations=iterations, window=window, patience=patience, run_on=False)
    items = list(made)
    stops = [item.at for item in items if isinstance(item, EarlyStopped)]
    assert stops == [iterations] * 3
    expected = made.gather(lambda batch: list(batch.restored))
    assert all(map(torch.equal, made.restored, expected))
    (warning,) = [item.text for item in items if isinstance(item, Message)]
    assert f"gave no score to 3 images in {iterations} iterations, since it needs dip.window={window}" in warning
    compared = items[-2]
    assert isinstance(compared, StopsCompared)
    assert compared.psnr == compared.final


def test_window_as_long_as_fit_gives_score() -> None:
    items = list(fit(iterations=12, window=12, patience=200, run_on=False))
    assert not [item for item in items if isinstance(item, Message)]
