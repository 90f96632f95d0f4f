from __future__ import annotations

from pathlib import Path

import pytest

from dipddpm.core import config, events
from dipddpm.core.errors import UserError
from dipddpm.core.runs import CHECKPOINT_FILE, EventLog, Run, RunsFolder, RunState, extend, trash


def made(runs: RunsFolder, *happened: events.Event, kind: str = "ddpm") -> Run:
    run = runs.create(config.build(kind, settings={"name": "first"}))
    log = EventLog(run.folder)
    for event in (events.RunStarted(kind=kind, method="tutorial", device="cpu", epochs=20, steps=200), *happened):
        log.append(event)
    log.close()
    return run


def best(run: Run) -> events.BestModelStored:
    (run.folder / "checkpoints/best.safetensors").write_bytes(b"best")
    (run.folder / "checkpoints/last.safetensors").write_bytes(b"the last one")
    return events.BestModelStored(step=100, value=0.1, file="checkpoints/best.safetensors", sha256="0")


def log(run: Run, *happened: events.Event) -> None:
    writer = EventLog(run.folder)
    for event in happened:
        writer.append(event)
    writer.close()


@pytest.fixture
def ended(runs: RunsFolder) -> Run:
    run = made(runs)
    log(run, best(run), events.Step(step=200), events.RunFinished(seconds=1.0, step=200))
    return run


def test_trash_delete_and_undelete_restore_run(runs: RunsFolder, ended: Run) -> None:
    before = ended.events()
    trash.delete(ended)
    assert runs.runs() == []
    assert trash.trashed(runs) == [ended.id]
    assert trash.undelete(runs, ended.id).events() == before
    assert trash.trashed(runs) == []


def test_empty_trash_removes_only_given_runs(runs: RunsFolder, ended: Run) -> None:
    other = made(runs, events.RunFinished(seconds=1.0))
    trash.delete(ended)
    trash.delete(other)
    trash.empty_trash(runs, [other.id])
    assert trash.trashed(runs) == [ended.id]
    trash.empty_trash(runs)
    assert not (runs.root / trash.TRASH).exists()
    with pytest.raises(UserError, match="can't be brought back"):
        trash.undelete(runs, ended.id)


def test_trash_refuses_live_run(runs: RunsFolder) -> None:
    run = runs.create(config.build("dip"))
    assert run.status().state is RunState.queued
    for act in (trash.delete, trash.keep_best_only):
        with pytest.raises(UserError, match="still live"):
            act(run)


def test_keep_best_only_frees_other_checkpoints(runs: RunsFolder, ended: Run) -> None:
    assert trash.keep_best_only(ended) == len(b"the last one")
    assert [path.name for path in (ended.folder / "checkpoints").iterdir()] == ["best.safetensors"]


def test_keep_best_only_refuses_run_without_best_model(runs: RunsFolder) -> None:
    run = made(runs, events.RunFinished(seconds=1.0))
    (run.folder / "checkpoints/last.safetensors").write_bytes(b"last")
    with pytest.raises(UserError, match="no best model"):
        trash.keep_best_only(run)
    assert (run.folder / "checkpoints/last.safetensors").exists()


def test_keep_best_only_refuses_best_model_outside_folder(runs: RunsFolder, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"x")
    run = made(runs, events.BestModelStored(step=1, value=1.0, file="../../outside", sha256="0"))
    log(run, events.RunFinished(seconds=1.0))
    with pytest.raises(UserError, match="no best model"):
        trash.keep_best_only(run)


def test_disk_use_sums_files(ended: Run) -> None:
    use = trash.disk_use(ended)
    assert use.checkpoints == len(b"best") + len(b"the last one")
    assert use.images == 0
    assert use.total == sum(path.stat().st_size for path in ended.folder.rglob("*") if path.is_file())


def test_extend_continues_run_and_leaves_original_unchanged(runs: RunsFolder, ended: Run) -> None:
    before = ended.status().summary
    new = extend.extend(runs, ended, 5)
    assert extend.length(ended) == ("ddpm.epochs", 20)
    assert extend.length(new) == ("ddpm.epochs", 25)
    assert (new.folder / CHECKPOINT_FILE).read_bytes() == b"the last one"
    extended = new.status().summary
    assert (extended.epochs, extended.steps, extended.step) == (25, 250, 200)
    assert new.config().name == "first"
    assert ended.status().summary == before


def test_extend_refuses_unfinished_run_and_missing_checkpoint(runs: RunsFolder, ended: Run) -> None:
    stopped = made(runs, events.RunStopped(reason="asked to stop", step=10))
    with pytest.raises(UserError, match="not finished"):
        extend.extend(runs, stopped, 5)
    trash.keep_best_only(ended)
    with pytest.raises(UserError, match="no longer has its last checkpoint"):
        extend.extend(runs, ended, 5)
    assert len(runs.runs()) == 2
