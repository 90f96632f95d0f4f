"""A copy of the program's files that was never installed, as on a machine without network, has no metadata."""

from __future__ import annotations

from importlib import metadata
from typing import NoReturn

import pytest

import dipddpm
from dipddpm.core.doctor import machine
from dipddpm.core.runs import environment


@pytest.fixture
def uninstalled(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> NoReturn:
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", missing)
    monkeypatch.setattr(metadata, "requires", missing)


def test_program_version_is_that_of_metadata() -> None:
    assert environment.program_version() == metadata.version("dipddpm")


def test_program_without_metadata_is_unversioned(uninstalled: None) -> None:
    assert environment.program_version() == "unversioned"
    assert dipddpm.__version__ == "unversioned"
    assert "dipddpm unversioned" in next(machine.python()).message
    assert next(machine.extras()).message == "installed: none"
    assert environment.collect("cpu", "", 1).dipddpm == ""
