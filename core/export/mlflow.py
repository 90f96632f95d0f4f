"""Export of a run to an MLflow file store, through MLflow's own client; it needs no server.

MLflow writes file stores only if an environment variable allows it; `mlflow migrate-filestore` moves one to a database.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dipddpm.core.export.snapshot import Record, safe_name, scalars, step_of, temporary_environ
from dipddpm.core.io.sanitize import printable
from dipddpm.core.runs import CONFIG_FILE

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "dipddpm"
TAG = "dipddpm.run"
QUIET = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
BATCH = 1000
"""The largest number of metrics in one call of the client."""
MOST_CHARACTERS = 6000
"""The longest value of a parameter."""
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "crashed": "FAILED", "stopped": "KILLED"}


def write(record: Record, store: Path) -> None:
    """Write metrics, parameters, config and pictures of a run to the store, and delete its earlier export."""
    with temporary_environ(QUIET):
        from mlflow.entities import Metric, Param

        client = _client(store)
        earlier = _mlflow_run_ids(client, record.run.id)
        began = record.began
        tags = {TAG: record.run.id, "mlflow.source.name": "dipddpm"}
        name = printable(record.title, 120)
        known = client.get_experiment_by_name(EXPERIMENT)
        experiment = known.experiment_id if known else client.create_experiment(EXPERIMENT)
        created = client.create_run(experiment, start_time=_milliseconds(began), tags=tags, run_name=name)
        run = created.info.run_id
        try:
            params = [Param(safe_name(key), str(value)[:MOST_CHARACTERS]) for key, value in record.options().items()]
            client.log_batch(run, params=params)
            metrics = [
                Metric(name, value, _milliseconds(event.time), step_of(event))
                for event in record.history
                for name, value in scalars(event)
            ]
            for start in range(0, len(metrics), BATCH):
                client.log_batch(run, metrics=metrics[start : start + BATCH])
            for path in record.run.files(CONFIG_FILE):
                client.log_artifact(run, str(path))
            for _, path in record.pictures():
                client.log_artifact(run, str(path), "images")
            end = _milliseconds(record.history[-1].time if record.history else began)
            client.set_terminated(run, _STATUS.get(record.status.state, "RUNNING"), end)
        except BaseException:
            client.delete_run(run)
            raise
        for replaced in earlier:  # MLflow moves deleted runs to its own trash
            client.delete_run(replaced)


def holds(store: Path, run_id: str) -> bool:
    """Return whether the store holds this run."""
    with temporary_environ(QUIET):
        return store.is_dir() and bool(_mlflow_run_ids(_client(store), run_id))


def _mlflow_run_ids(client: MlflowClient, run_id: str) -> list[str]:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    return [run.info.run_id for run in runs if run.data.tags.get(TAG) == run_id]


def _client(store: Path) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=store.as_uri())


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
