from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks import original_pictures
from benchmarks.damage import damaged
from benchmarks.original_pictures import Fit, measure
from dipddpm.core.errors import UserError


def build(inputs: int, kind: str, pad: str, **options: object) -> nn.Module:
    """Return a network in place of the original's, which is far too slow for a test."""
    assert (inputs, kind, pad, options["n_channels"]) == (32, "skip", "reflection", 1)
    return nn.Sequential(nn.Conv2d(inputs, 1, 1), nn.Sigmoid())


def fit(folder: Path, damage: str, *, total: int = 12) -> Fit:
    return Fit(build, "camera", damage, 32, total, folder)


def image(folder: Path, damage: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(folder / f"camera-{damage}-32.png"))


@pytest.mark.parametrize("damage", ["noise", "random", "text"])
def test_fit_in_turns_equals_fit_in_one_go(tmp_path: Path, damage: str) -> None:
    fit(tmp_path / "whole", damage).advance(12)
    for _ in range(3):
        fit(tmp_path / "turns", damage).advance(4)
    assert np.array_equal(image(tmp_path / "whole", damage), image(tmp_path / "turns", damage))
    with (tmp_path / "turns" / f"camera-{damage}-32.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["iteration"] for row in rows] == ["4", "8", "12"]
    assert {row["of"] for row in rows} == {"12"}
    resumed = fit(tmp_path / "turns", damage)
    assert (resumed.iteration, resumed.best) == (12, fit(tmp_path / "whole", damage).best)


def test_noise_is_averaged_as_in_the_notebook(tmp_path: Path) -> None:
    one = fit(tmp_path, "noise")
    outputs: list[Tensor] = []
    one.network.register_forward_hook(lambda _, __, output: outputs.append(output))
    one.advance(3)
    first, second, third = (output.detach() for output in outputs)
    average = 0.99 * (0.99 * first + 0.01 * second) + 0.01 * third
    expected = np.round(255 * average.clamp(0, 1)[0, 0].numpy())
    assert np.abs(image(tmp_path, "noise") - expected).max() <= 1


def test_result_of_inpainting_keeps_known_pixels(tmp_path: Path) -> None:
    fit(tmp_path, "text").advance(2)
    given = damaged("camera", "text", 32)
    assert given.known is not None
    assert np.array_equal(image(tmp_path, "text")[given.known], given.truth[given.known])


def test_much_worse_fit_returns_to_stored_weights(tmp_path: Path) -> None:
    one = fit(tmp_path, "noise")
    one.advance(2)  # the first iteration stores no weights, the second does
    assert one.stored is not None
    stored = [tensor.clone() for tensor in one.stored]
    with torch.no_grad():
        for parameter in one.network.parameters():
            parameter.fill_(100.0)
    one.optimizer.param_groups[0]["lr"] = 0.0
    one._step()
    assert one.iteration == 2, "an iteration that falls back isn't counted"
    assert all(torch.equal(a, b) for a, b in zip(one.network.parameters(), stored, strict=True))


@pytest.mark.parametrize("case", ["camera", "camera:blur"])
def test_unknown_cases_are_refused(tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(original_pictures, "load", lambda _: build)
    with pytest.raises(UserError, match="isn't a picture and a damage"):
        measure(tmp_path, case=[case], out=tmp_path, threads=0)
