"""Fit the models that predict a restoration's PSNR, and calibrate their intervals: `core/assets/prediction.json`.

The command `python -m scripts.calibrate_prediction ROWS.csv...` reads restorations of pictures whose truth is known,
which `python -m benchmarks predictions --purpose fit` makes, and prints how well each model predicts pictures that were
left out of its fit. The pictures of the benchmark's own test are in none of these rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.predictions import Row, load
from dipddpm.core.io import atomic
from dipddpm.core.methods.trial.features import Features
from dipddpm.core.methods.trial.prediction import ASSET, Model

RIDGE = 0.03
"""Strength of the penalty on weights of standardised features, for each case."""
STIFF = 100.0
"""The same for holes, whose few large errors would decide on the weights."""
SHRINKAGE = 4.0
"""Number of cases by which a method's own mean is drawn towards that of all methods."""
SHIFTS = np.arange(-1.5, 0.51, 0.05)
"""Shifts in dB of the unbiased estimate that are tried."""
HUBER = 1.5
"""Errors beyond so many standard deviations count less in the fit, as in Huber's loss."""
ROUNDS = 30
FOLDS = 8
SUFFIXES = {"": "final", " trial": "trial"}

Floats = NDArray[np.float64]


def main(
    rows: Annotated[list[Path], typer.Argument(help="CSVs of restorations.")],
    *,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("core/assets") / ASSET,
) -> None:
    """Fit the models and write them."""
    table = [row for path in rows for row in load(path).values()]
    models: dict[str, Model] = {}
    for kind in sorted({row.final.kind for row in table}):
        chosen = [row for row in table if row.final.kind == kind]
        for suffix, stage in SUFFIXES.items():
            if (kind, stage) == ("holes", "trial"):
                continue  # hidden holes alone say too little: an interval would be 50 dB wide
            features = [getattr(row, stage) for row in chosen]
            models[kind + suffix] = calibrate(kind + suffix, chosen, features)
    atomic.write_atomic(out, msgspec.json.format(msgspec.json.encode(models)) + b"\n")


def calibrate(kind: str, rows: Sequence[Row], features: Sequence[Features]) -> Model:
    """Fit a model to all rows; the factor on its interval covers 90% of pictures that were left out of other fits."""
    groups = picture_groups(rows)
    predicted = np.empty((len(rows), 3))
    for fold in range(FOLDS):
        kept, left = np.flatnonzero(groups != fold).tolist(), np.flatnonzero(groups == fold).tolist()
        model = fit([rows[i] for i in kept], [features[i] for i in kept])
        for i in left:
            prediction = model.predict(features[i], rows[i].method)
            predicted[i] = prediction.lower, prediction.psnr, prediction.upper
    truth = np.array([row.psnr for row in rows])
    lower, psnr, upper = predicted.T
    half = np.where(truth < psnr, psnr - lower, upper - psnr)
    ratios = np.sort(np.abs(truth - psnr) / half)
    scale = ratios[min(len(ratios) - 1, int(np.ceil(0.9 * (len(ratios) + 1))) - 1)]
    model = fit(rows, features)
    model.scale = round(float(scale), 3)
    within, width = np.mean(np.abs(truth - psnr) <= 1), np.mean(scale * (upper - lower))
    error = np.mean(np.abs(truth - psnr))
    print(
        f"{kind:16} {len(rows):4} cases  {within:5.0%} within 1 dB  mean error {error:.2f} dB  interval {width:.1f} dB"
    )
    print(f"    scale {scale:.2f}  shift {model.shift:+.2f}  {model.weights}  {model.methods}  {model.deviations}")
    return model


def picture_groups(rows: Sequence[Row]) -> NDArray[np.int_]:
    """Divide the rows into folds: those of one photograph together, and drawn pictures, each its own, in turn."""
    names = sorted({row.picture for row in rows})
    return np.array([(row.number if row.picture == "leaves" else names.index(row.picture)) % FOLDS for row in rows])


def fit(rows: Sequence[Row], features: Sequence[Features]) -> Model:
    """Fit a model: weights by ridge regression, methods by shrunk means, and the shift that predicts best."""
    names = sorted({name for each in features for name in each.values})
    x = np.array([[each.values.get(name, 0.0) for name in names] for each in features])
    base = np.array([each.values["base"] for each in features])
    target = np.array([-row.psnr for row in rows]) - base
    methods = np.array([row.method for row in rows])
    offsets = dict.fromkeys(sorted(set(methods.tolist())), 0.0)
    mean, spread = x.mean(0), np.maximum(x.std(0), 0.5)
    standard = (x - mean) / spread
    weights, centre, trust = np.zeros(len(names)), float(np.median(target)), np.ones(len(rows))
    error = target - centre
    ridge = STIFF if features[0].kind == "holes" else RIDGE
    for _ in range(ROUNDS):
        noise = max(1.48 * float(np.median(np.abs(error))), 0.1)
        trust = 1 / np.maximum(1, np.abs(error) / (HUBER * noise))
        rest = target - np.array([offsets[method] for method in methods])
        centre = float(trust @ (rest - standard @ weights) / trust.sum())
        gram = standard.T @ (trust[:, None] * standard) + ridge * len(rows) * np.eye(len(names))
        weights = np.linalg.solve(gram, standard.T @ (trust * (rest - centre)))
        rest = target - centre - standard @ weights
        for name in offsets:
            own = methods == name
            offsets[name] = float(trust[own] @ rest[own] / (trust[own].sum() + SHRINKAGE))
        error = rest - np.array([offsets[method] for method in methods])
    square = float(np.sum(trust * error**2) / max(1, len(rows) - len(names)))
    deviations = {"": square**0.5}
    for name in offsets:
        own = methods == name
        summed = SHRINKAGE * square + float(trust[own] @ error[own] ** 2)
        deviations[name] = (summed / (SHRINKAGE + own.sum())) ** 0.5
    slopes = dict(zip(names, weights / spread, strict=True))
    slopes["base"] += 1
    model = Model(
        intercept=round(centre - float(mean @ (weights / spread)), 4),
        weights={name: round(float(weight), 4) for name, weight in slopes.items()},
        methods={name: round(offset, 3) for name, offset in offsets.items()},
        deviations={name: round(float(deviation), 3) for name, deviation in deviations.items()},
        cases=len(rows),
    )
    if any(each.unbiased is not None for each in features):
        shifts: list[float] = SHIFTS.round(2).tolist()
        model.shift = min(shifts, key=lambda shift: shifted_error(model, shift, rows, features))
    return model


def shifted_error(model: Model, shift: float, rows: Sequence[Row], features: Sequence[Features]) -> float:
    """Return the mean absolute error of the PSNRs that the model predicts with a shift, in dB."""
    shifted = msgspec.structs.replace(model, shift=shift)
    pairs = zip(rows, features, strict=True)
    return float(np.mean([abs(shifted.predict(each, row.method).psnr - row.psnr) for row, each in pairs]))


if __name__ == "__main__":
    typer.run(main)
