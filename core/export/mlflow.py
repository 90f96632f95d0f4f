"""Export of a run to an MLflow file store, through MLflow's own client; it needs no server.

MLflow writes file stores only if an environment variable allows it; `mlflow migrate-filestore` moves one to a database.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dipddpm.core.errors import UserError
from dipddpm.core.export.snapshot import Record, safe_name, scalars, step_of, temporary_environ
from dipddpm.core.io import output
from dipddpm.core.io.sanitize import printable
from dipddpm.core.runs import CONFIG_FILE

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "dipddpm"
TAG = "dipddpm.run"
META_FILE = "meta.yaml"
QUIET = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
BATCH = 1000
"""The largest number of metrics in one call of the client."""
MOST_CHARACTERS = 6000
"""The longest value of a parameter."""
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "crashed": "FAILED", "stopped": "KILLED"}


def write(record: Record, store: Path) -> None:
    """Write metrics, parameters, config and pictures of a run to the store, in place of its earlier export.

    MLflow writes to a temporary store, from which the run is moved by a rename: this store never holds half a run.
    """
    with output.staging(store) as staged, temporary_environ(QUIET):
        experiment = _experiment(store)
        earlier = _run_folders(store, record.run.id)
        folder = _write_run(record, staged / "store")
        _set_location(folder, store, experiment or folder.parent.name)
        output.sync(folder.parent)
        store.mkdir(exist_ok=True)
        if experiment:
            folder.rename(store / experiment / folder.name)
        else:
            folder.parent.rename(store / folder.parent.name)
        for number, replaced in enumerate(earlier):
            replaced.rename(staged / f"earlier-{number}")


def _write_run(record: Record, store: Path) -> Path:
    """Write the run to a new store, and return its folder there."""
    from mlflow.entities import Metric, Param

    client = _client(store)
    began = record.began
    tags = {TAG: record.run.id, "mlflow.source.name": "dipddpm"}
    name = printable(record.title, 120)
    experiment = client.create_experiment(EXPERIMENT)
    run: str = client.create_run(experiment, start_time=_milliseconds(began), tags=tags, run_name=name).info.run_id
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
    return store / str(experiment) / run


def _set_location(folder: Path, store: Path, experiment: str) -> None:
    """Let the metadata of a staged run, and of its experiment, name their place in the store."""
    from mlflow.utils import file_utils, yaml_utils

    untyped: Any = file_utils
    location = untyped.path_to_local_file_uri(str(store / experiment))
    changes = {
        folder.parent: {"artifact_location": location},
        folder: {"artifact_uri": f"{location}/{folder.name}/artifacts", "experiment_id": experiment},
    }
    untyped = yaml_utils
    for path, changed in changes.items():
        meta = {**untyped.read_yaml(str(path), META_FILE), **changed}
        untyped.write_yaml(str(path), META_FILE, meta, overwrite=True)


def holds(store: Path, run_id: str) -> bool:
    """Return whether the store holds this run. Raises UserError for a store that another program has left broken."""
    with temporary_environ(QUIET):
        return bool(_run_folders(store, run_id))


def _experiment(store: Path) -> str:
    """Return the id of our experiment in the store; empty if it has none. Raises UserError if MLflow can't use it."""
    if not store.is_dir():
        return ""
    _refuse_broken(store)
    experiment = _client(store).get_experiment_by_name(EXPERIMENT)
    if experiment is not None and experiment.lifecycle_stage == "deleted":
        problem = f"The experiment {EXPERIMENT} of the MLflow store {store} is deleted."
        raise UserError(problem, f"Restore it: mlflow experiments restore -x {experiment.experiment_id}")
    return str(experiment.experiment_id) if experiment is not None else ""


def _refuse_broken(store: Path) -> None:
    """Raise UserError for an experiment or a run whose metadata is cut, as by a full disk, and name its folder."""
    from mlflow.utils import yaml_utils

    untyped: Any = yaml_utils
    for needed, pattern in (({"experiment_id", "name"}, "[0-9]*"), ({"run_id", "user_id"}, f"*/{'[0-9a-f]' * 32}")):
        for folder in sorted(store.glob(pattern)):
            if not folder.is_dir():
                continue
            try:
                meta = untyped.read_yaml(str(folder), META_FILE)
            except OSError:
                raise
            except Exception:  # MLflow raises its own errors for a missing file, and its YAML package for a cut one
                meta = None
            if not isinstance(meta, dict) or not needed <= set(meta):
                problem = f"The MLflow store has a broken folder, whose {META_FILE} is empty or cut: {folder}."
                raise UserError(problem, "Remove that folder, then export again.")


def _run_folders(store: Path, run_id: str) -> list[Path]:
    """Return the folders in the store of the exports of a run."""
    if not (experiment := _experiment(store)):
        return []
    runs = _client(store).search_runs([experiment])
    return [store / experiment / run.info.run_id for run in runs if run.data.tags.get(TAG) == run_id]


def _client(store: Path) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=store.as_uri())


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
