"""Tests of exports whose disk is full, read-only or cut off: nothing stays, and one sentence says why."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from dipddpm.core.errors import UserError
from dipddpm.core.export import FORMATS, export
from dipddpm.core.export import mlflow as store_format
from dipddpm.core.io import output
from dipddpm.core.runs import Run

WRITTEN = [name for name in FORMATS if name not in {"images", "model", "mlflow"}]


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("name", FORMATS)
def test_export_refuses_full_disk_before_work(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(output, "probe", full)
    with pytest.raises(UserError, match="can't be written: No space left") as refused:
        export([run], [name], tmp_path / "out")
    assert refused.value.remedy.startswith("Free some space")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("hidden", [False, True])
def test_export_leaves_nothing_if_disk_fills_up(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, *, hidden: bool
) -> None:
    """Fail in the middle, with the disk's error or with one of another package that hides it."""
    module, _, function = FORMATS[name].writer.partition(":")

    def half(_: object, path: Path) -> None:
        (path if FORMATS[name].suffix else path / "half").write_text("half")
        if hidden:
            monkeypatch.setattr(output, "probe", full)
            raise AttributeError("'Stream' object has no attribute 'pos'")
        full()

    monkeypatch.setattr(f"dipddpm.core.export.{module}.{function}", half)
    with pytest.raises(UserError, match="can't be written: No space left"):
        export([run], [name], tmp_path / "out/deep")
    assert not (tmp_path / "out").exists()


def test_export_keeps_bugs_visible(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("dipddpm.core.export.tables.write_csv", fail)
    with pytest.raises(ZeroDivisionError):
        export([run], ["csv"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_export_names_file_of_the_run_that_cannot_be_read(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, _: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(source))

    monkeypatch.setattr("shutil.copyfile", refuse)
    with pytest.raises(UserError, match=r"config\.toml can't be read: Permission denied"):
        export([run], ["files"], tmp_path / "out")


def test_wandb_export_reports_disk_that_its_process_filled(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W&B's own process loses records on a full disk and reports nothing."""
    calls: list[Path] = []

    def probe(folder: Path) -> None:
        calls.append(folder)
        if len(calls) > 1:  # the first call is the check before the work
            full()

    monkeypatch.setattr(output, "probe", probe)
    with pytest.raises(UserError, match="No space left"):
        export([run], ["wandb"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert logging.raiseExceptions


@pytest.mark.parametrize("call", ["create_experiment", "create_run", "log_batch", "log_artifact", "set_terminated"])
def test_mlflow_store_stays_usable_after_failure_at_any_call(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    store = tmp_path / "out/mlflow"
    with monkeypatch.context() as patch:
        patch.setattr(f"mlflow.MlflowClient.{call}", full)
        with pytest.raises(UserError, match="can't be written: No space left"):
            export([run], ["mlflow"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    export([run], ["mlflow"], tmp_path / "out")
    before = everything(store)
    with monkeypatch.context() as patch:
        patch.setattr(f"mlflow.MlflowClient.{call}", full)
        with pytest.raises(UserError, match="can't be written: No space left"):
            export([run], ["mlflow"], tmp_path / "out", replace=True)
    assert everything(store) == before
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["mlflow"]


def test_mlflow_artifacts_lie_in_the_store(run: Run, tmp_path: Path) -> None:
    store = tmp_path / "my store,50%/mlflow"
    export([run], ["mlflow"], store.parent)
    with output_environment():
        from mlflow import MlflowClient

        client: Any = MlflowClient(tracking_uri=store.as_uri())
        experiment = client.get_experiment_by_name("dipddpm")
        (stored,) = client.search_runs([experiment.experiment_id])
        target = client.download_artifacts(stored.info.run_id, "config.toml")
    assert Path(target).read_bytes() == (run.folder / "config.toml").read_bytes()
    location = f"{experiment.experiment_id}/{stored.info.run_id}/artifacts"
    assert unquote(stored.info.artifact_uri) == f"file://{store}/{location}"
    assert stored.info.experiment_id == experiment.experiment_id
    assert experiment.artifact_location.endswith(f"mlflow/{experiment.experiment_id}")


@pytest.mark.parametrize("damage", ["", "artifact_loc", None])
@pytest.mark.parametrize("level", ["experiment", "run"])
def test_mlflow_export_names_broken_folder_of_store(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str | None, level: str
) -> None:
    """Earlier versions left such folders behind on a full disk."""
    store = tmp_path / "mlflow"
    export([run], ["mlflow"], tmp_path)
    broken = next(store.glob("*/meta.yaml" if level == "experiment" else "*/*/meta.yaml"))
    broken.unlink()
    if damage is not None:
        broken.write_text(damage)
    for replace in (False, True):
        with pytest.raises(UserError) as refused:
            export([run], ["mlflow"], tmp_path, replace=replace)
        assert str(broken.parent) in refused.value.problem
        assert "Remove that folder" in refused.value.remedy
    assert caplog.records == []


def output_environment() -> Any:
    from dipddpm.core.export.snapshot import temporary_environ

    return temporary_environ(store_format.QUIET)
