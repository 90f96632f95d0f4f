"""Fixtures of the real images that ship with the program."""

from __future__ import annotations

import pytest

from dipddpm.core import data


@pytest.fixture(scope="session")
def train() -> data.ImageSet:
    return data.load("fashion-mini", "train")


@pytest.fixture(scope="session")
def test() -> data.ImageSet:
    return data.load("fashion-mini", "test")
