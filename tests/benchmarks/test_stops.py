from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import stops
from dipddpm.core.config import DipRun, build
from dipddpm.core.errors import UserError

TASKS = ("denoise:sigma=25", "inpaint:missing=0.5")


def config(**changes: object) -> DipRun:
    settings = {
        "data.dataset": "fashion-mini",
        "images.split": "train",
        "images.indices": "0-2",
        "dip.iterations": 12,
        "dip.channels": 4,
        "dip.input_channels": 4,
        "dip.window": 4,
        "device": "cpu",
    }
    made = build("dip", settings=settings | {key.replace("__", "."): value for key, value in changes.items()})
    assert isinstance(made, DipRun)
    return made


def fit(task: str, seed: int, psnr: list[float], peak: list[float]) -> stops.Fit:
    return stops.Fit(
        task=task,
        seed=seed,
        rule="variance",
        at=[5] * len(psnr),
        psnr=psnr,
        peak=peak,
        peak_at=[4] * len(psnr),
        final=psnr,
    )


def test_fits_cover_tasks_and_seeds_and_continue_past_stops() -> None:
    fits = list(stops.fits(config(dip__patience=2), TASKS, seeds=2))
    assert [(fit.task, fit.seed) for fit in fits] == [(task, seed) for seed in (0, 1) for task in TASKS]
    for made in fits:
        assert all(peak >= psnr - 1e-6 for peak, psnr in zip(made.peak, made.psnr, strict=True))
    assert fits[0].rule == "discrepancy"
    assert fits[0].psnr != fits[2].psnr


def test_fits_skip_known_fits(tmp_path: Path) -> None:
    path = tmp_path / "stops.json"
    assert stops.load(path, config()) == []
    first = next(stops.fits(config(), TASKS, seeds=1))
    stops.save(path, config(), [first])
    known = stops.load(path, config())
    assert known == [first]
    (second,) = stops.fits(config(), TASKS, seeds=1, known=known)
    assert second.task == TASKS[1]


def test_stops_load_refuses_fits_with_other_options(tmp_path: Path) -> None:
    path = tmp_path / "stops.json"
    stops.save(path, config(), [])
    with pytest.raises(UserError, match="other options"):
        stops.load(path, config(dip__lr=0.5))
    path.write_text("{")
    with pytest.raises(UserError, match="can't be read"):
        stops.load(path, config())


def test_rows_average_gaps_over_images_and_seeds() -> None:
    psnr = np.random.default_rng(0).normal(25, 1, (2, 40))
    gaps = np.random.default_rng(1).exponential(0.5, (2, 40))
    fits = [fit("a", seed, psnr[seed].tolist(), (psnr + gaps)[seed].tolist()) for seed in (0, 1)]
    first, second = stops.rows([*fits, fit("b", 0, [20.0, 21.0], [20.0, 22.0])])
    assert (first.task, first.seeds) == ("a", 2)
    assert first.gap == pytest.approx(gaps.mean())
    assert first.percentile == pytest.approx(np.percentile(gaps, 95))
    assert first.spread == pytest.approx(np.ptp(gaps.mean(1)) / 2)
    assert (second.psnr, second.peak, second.gap, second.spread) == (20.5, 21.0, 0.5, 0.0)
