"""Tests of the export to MLflow, read back by MLflow's own client."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dipddpm.core.export import export, mlflow
from dipddpm.core.export.snapshot import Record, temporary_environ
from dipddpm.core.io.output import OutputExistsError
from dipddpm.core.runs import Run


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a store, and make every network connection fail the test."""

    def refuse(*_: Any) -> None:
        raise AssertionError("the export has opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tmp_path / "out" / "mlflow"


@pytest.fixture
def client(store: Path) -> Iterator[Any]:
    with temporary_environ(mlflow.QUIET):
        from mlflow import MlflowClient

        yield MlflowClient(tracking_uri=store.as_uri())


def stored_runs(client: Any) -> list[Any]:
    experiment = client.get_experiment_by_name("dipddpm")
    return list(client.search_runs([experiment.experiment_id]))


def test_mlflow_write_stores_metrics_parameters_and_files(record: Record, store: Path, client: Any) -> None:
    before = dict(os.environ)
    mlflow.write(record, store)
    assert os.environ == before
    (run,) = stored_runs(client)
    assert run.info.status == "FINISHED"
    assert (run.info.start_time, run.info.end_time) == (100_000, 131_500)
    assert run.data.params["data.dataset"] == "fashion-mini"
    assert run.data.params["dip.iterations"] == str(record.options()["dip.iterations"])
    losses = client.get_metric_history(run.info.run_id, "loss/step")
    assert [(m.step, m.value, m.timestamp) for m in losses] == [(10, 0.5, 101_000), (15, 0.3, 111_000)]
    (score,) = client.get_metric_history(run.info.run_id, "scores/denoise_sigma_25/fashion-mini/calibrated/psnr")
    assert score.value == 25.5
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"config.toml", "images"}
    images = {file.path for file in client.list_artifacts(run.info.run_id, "images")}
    assert images == {"images/restored.png", "images/samples-10.png"}


def test_mlflow_store_refuses_second_export_unless_replaced(run: Run, store: Path, client: Any) -> None:
    (done,) = export([run], ["mlflow"], store.parent)
    assert done.path == store
    (first,) = stored_runs(client)
    with pytest.raises(OutputExistsError):
        export([run], ["mlflow"], store.parent)
    export([run], ["mlflow"], store.parent, replace=True)
    (second,) = stored_runs(client)
    assert first.info.run_id != second.info.run_id


def test_mlflow_write_failure_leaves_only_earlier_export(
    record: Record, store: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow.write(record, store)
    (earlier,) = stored_runs(client)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mlflow.MlflowClient.log_artifact", fail)
    with pytest.raises(OSError, match="No space"):
        mlflow.write(record, store)
    assert [run.info.run_id for run in stored_runs(client)] == [earlier.info.run_id]
