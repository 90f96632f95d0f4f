"""Tests of reference runs: every runs folder finds them, and nothing can change them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dipddpm.core.config import build
from dipddpm.core.errors import UserError
from dipddpm.core.launch import local
from dipddpm.core.runs import CHECKPOINT_FILE, Run, RunsFolder, extend, trash


def test_reference_run_is_found_by_id_or_word(shipped: Run, runs: RunsFolder) -> None:
    for wanted in (shipped.id, shipped.id[:15], shipped.id[-4:], "reference"):
        assert runs.find(wanted) == shipped
    assert shipped.reference
    assert runs.run(shipped.id) == shipped
    assert runs.references() == [shipped]


def test_runs_folder_last_is_never_reference_run(shipped: Run, runs: RunsFolder) -> None:
    assert runs.runs() == []
    with pytest.raises(UserError, match="no runs in"):
        runs.find("last")
    own = runs.create(build("ddpm"))
    assert not own.reference
    assert runs.find("last") == own
    assert runs.run(own.id) == own
    assert runs.runs() == [own]


def test_reference_run_is_hidden_by_own_run_with_its_id(shipped: Run, runs: RunsFolder) -> None:
    shutil.copytree(shipped.folder, runs.root / shipped.id)
    assert runs.references() == []
    assert runs.find(shipped.id) == runs.run(shipped.id) == Run(runs.root / shipped.id)
    assert runs.find("reference") == shipped


@pytest.mark.parametrize(
    "change",
    [local.start, local.resume, local.request_stop, local.stop, trash.delete, trash.keep_best_only],
)
def test_reference_run_refuses_every_change(change: Callable[[Run], object], shipped: Run) -> None:
    before = _content(shipped.folder)
    with pytest.raises(UserError, match="is a reference run"):
        change(shipped)
    assert _content(shipped.folder) == before


def test_reference_run_can_be_extended_with_its_checkpoint(shipped: Run, runs: RunsFolder) -> None:
    longer = extend.extend(runs, shipped, 2)
    assert longer.folder.parent == runs.root
    (shipped.folder / CHECKPOINT_FILE).unlink()
    with pytest.raises(UserError, match="no longer has its last checkpoint"):
        extend.extend(runs, shipped, 2)


def _content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
