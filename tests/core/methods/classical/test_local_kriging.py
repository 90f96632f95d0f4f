from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from skimage.data import coffee
from skimage.metrics import peak_signal_noise_ratio
from skimage.restoration import inpaint_biharmonic

from dipddpm.core.methods.classical.local_kriging import _covariances, _predict, krige_locally

Numbers = NDArray[np.float64]


def test_krige_locally_beats_biharmonic() -> None:
    picture = coffee()[100:136, 200:236] / 255
    known = np.random.default_rng(0).random((36, 36)) < 0.5
    y = torch.from_numpy(np.moveaxis(picture * known[..., None], -1, 0)).float()
    filled = krige_locally(y, torch.from_numpy(known), 0.0).movedim(0, -1).numpy()
    smooth = inpaint_biharmonic(picture * known[..., None], ~known, channel_axis=-1)
    a, b = (peak_signal_noise_ratio(picture, image, data_range=1) for image in (filled, smooth))
    assert a > b + 1


def test_prediction_solves_equations_of_ordinary_kriging() -> None:
    """The weights of the textbook's system, with a Lagrange multiplier, give the same prediction."""
    rng = np.random.default_rng(0)
    positions, values = rng.uniform(-5, 5, (30, 2)), rng.standard_normal((30, 2))
    targets, noise = rng.uniform(-3, 3, (7, 2)), 0.01
    given = [torch.from_numpy(array)[None] for array in (positions, values)]
    logs = torch.tensor([[1.0, 0.5, 0.3, -1.0, 0.2]], dtype=torch.float64)
    predicted = _predict(given[0], given[1], noise, torch.from_numpy(targets), logs)[0].numpy()

    angle = np.array([[np.cos(0.3), np.sin(0.3)], [-np.sin(0.3), np.cos(0.3)]])
    scale = np.exp([1.0, 0.5])
    a, b = positions @ angle.T / scale, targets @ angle.T / scale
    share = 1 / (1 + np.exp(-0.2))

    def covariance(distance: Numbers) -> Numbers:
        smooth = 3**0.5 * distance
        mixed: Numbers = np.exp(-2.0) * (share * np.exp(-distance) + (1 - share) * (1 + smooth) * np.exp(-smooth))
        return mixed

    system = np.block(
        [[covariance(cdist(a, a)) + noise * np.eye(30), np.ones((30, 1))], [np.ones((1, 30)), np.zeros((1, 1))]]
    )
    weights = np.linalg.solve(system, np.vstack([covariance(cdist(a, b)), np.ones((1, 7))]))[:30]
    np.testing.assert_allclose(predicted, weights.T @ values, atol=1e-6)
    assert _covariances(logs, given[0], given[0]).diagonal(dim1=1, dim2=2).numpy() == pytest.approx(np.exp(-2.0))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (13, 2), (30, 25)])
@pytest.mark.parametrize("known", [1, 5, 10**4])
def test_krige_locally_takes_every_size_and_preserves_flat_pictures(size: tuple[int, int], known: int) -> None:
    mask = torch.zeros(size, dtype=torch.bool)
    mask.view(-1)[torch.randperm(mask.numel(), generator=torch.Generator().manual_seed(0))[:known]] = True
    filled = krige_locally(torch.full((3, *size), 0.7) * mask, mask, 0.0)
    torch.testing.assert_close(filled, torch.full((3, *size), 0.7), atol=1e-3, rtol=0)
