from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core.data import ImageSet
from dipddpm.core.images import to_unit
from dipddpm.core.metrics.samples import nearest
from dipddpm.core.metrics.samples.classifier import load_classifier
from dipddpm.core.metrics.samples.nearest import (
    nearest_in_features,
    nearest_in_pixels,
    nearest_pictures,
    suspected_copies,
)


def test_nearest_matches_search_over_all_pairs(
    train: ImageSet, test: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "CHUNK", 333)
    samples, train = test.images[:40], train.take(range(1000))
    a, b = (to_unit(images).double().flatten(1) for images in (samples, train.images))
    distances, indices = torch.cdist(a, b).min(1)
    found = nearest_in_pixels(to_unit(samples), train)
    assert torch.equal(found.indices, indices)
    assert torch.allclose(found.distances.double(), distances / 28, rtol=1e-5)
    a, b = (load_classifier().features(images).double() for images in (samples, train.images))
    distances, indices = torch.cdist(a, b).min(1)
    found = nearest_in_features(samples, train)
    assert torch.equal(found.indices, indices)
    assert torch.allclose(found.distances.double(), distances, rtol=1e-5)


@given(indices=st.lists(st.integers(0, 199), min_size=1, max_size=20))
def test_nearest_in_pixels_finds_copy_at_zero_distance(train: ImageSet, indices: list[int]) -> None:
    few = train.take(range(200))
    found = nearest_in_pixels(to_unit(few.images[indices]), few)
    assert found.indices.tolist() == indices
    assert found.distances.max() == 0


def test_nearest_in_pixels_distance_is_in_grey_levels(train: ImageSet) -> None:
    darker = (train.images[:5].clamp(min=3) - 3).clamp(max=252)
    exact = train.images[:5].float() - darker.float()
    found = nearest_in_pixels(darker, train)
    assert torch.allclose(found.distances * 255, exact.square().mean((1, 2, 3)).sqrt(), atol=1e-4)


def test_suspected_copies_separates_copies_from_new_images(train: ImageSet, test: ImageSet) -> None:
    for find in (nearest_in_pixels, nearest_in_features):
        held_out = find(test.images[:250], train)
        assert suspected_copies(find(train.images[:100], train), held_out) == 1
        assert suspected_copies(find(test.images[250:], train), held_out) < 0.05


def test_nearest_pictures_have_row_per_sample(train: ImageSet, test: ImageSet) -> None:
    samples = to_unit(test.images[:5])
    picture = nearest_pictures(samples, train, step=3, shown=4)
    assert picture.images.shape == (12, 1, 28, 28)
    assert picture.columns == len(picture.panels) == 3
    assert torch.equal(picture.images[::3], samples[:4])
    for column, find in ((1, nearest_in_pixels), (2, nearest_in_features)):
        indices = find(samples[:4], train).indices
        assert torch.equal(picture.images[column::3], to_unit(train.images[indices]))
