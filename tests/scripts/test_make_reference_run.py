from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import msgspec
import pytest
import torch

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.compute import checkpoint
from dipddpm.core.config import DdpmRun, RestoreRun
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.errors import UserError
from dipddpm.core.runs import CONFIG_FILE, EventLog, Run, RunsFolder, RunState, summary
from scripts.make_reference_run import find_leaks, make_reference

SHIPPED = Path(__file__).parents[2] / "runs" / "reference"


def copy(run: Run, folder: Path) -> Run:
    """Return a copy of a run, which a test may change."""
    shutil.copytree(run.folder, folder / run.id)
    return Run(folder / run.id)


def test_make_reference_copies_results_without_machine_names(finished: Run, tmp_path: Path) -> None:
    run = copy(finished, tmp_path)
    config = msgspec.structs.replace(
        run.config(), data=msgspec.structs.replace(run.config().data, directory=str(tmp_path))
    )
    (run.folder / CONFIG_FILE).write_text(configs.to_toml(config))
    copied = make_reference(run, tmp_path / "reference")

    before, after = run.status(), copied.status()
    assert after.state is RunState.finished
    assert after.config == finished.config()
    for name in ("started", "ended", "best_loss", "best_epoch", "loss", "epoch", "step", "steps"):
        assert getattr(after.summary, name) == getattr(before.summary, name)
    kinds = (events.EpochFinished, events.BestModelStored, events.ImageSaved)
    copied_events, original_events = (
        [msgspec.structs.replace(e, offset=0) for e in r.events() if isinstance(e, kinds)] for r in (copied, run)
    )
    assert copied_events == original_events

    files = {path.relative_to(copied.folder).as_posix() for path in copied.folder.rglob("*") if path.is_file()}
    pictures = {f"images/{path.name}" for path in (run.folder / "images").iterdir()}
    texts = {"config.toml", "environment.json", "events.jsonl", "summary.json"}
    assert files == texts | pictures | {"checkpoints/best.safetensors"}
    content = b"".join((copied.folder / name).read_bytes() for name in files)
    for name in (str(tmp_path), str(Path.home()) + "/", str(Path.cwd())):
        assert name.encode() not in content
    environment = json.loads((copied.folder / "environment.json").read_text())
    assert environment["host"] == environment["command"] == ""
    assert environment["packages"]["torch"] == torch.__version__.partition("+")[0]


def test_make_reference_copies_the_best_model(finished: Run, tmp_path: Path) -> None:
    copied = make_reference(finished, tmp_path)
    original, copy_ = (checkpoint.load(run.folder / "checkpoints" / "best.safetensors") for run in (finished, copied))
    assert all(torch.equal(a, b) for a, b in zip(original.parameters(), copy_.parameters(), strict=True))


def test_make_reference_without_weights_copies_documents_and_names_no_file(finished: Run, tmp_path: Path) -> None:
    run = copy(finished, tmp_path)
    for name in ("report.md", "scores.json", "notes.json"):
        (run.folder / name).write_text("{}")
    copied = make_reference(run, tmp_path / "reference", weights=False)
    assert not (copied.folder / "checkpoints").exists()
    assert (copied.folder / "report.md").is_file()
    assert (copied.folder / "scores.json").is_file()
    assert not (copied.folder / "notes.json").exists()
    after, before = copied.status().summary, run.status().summary
    assert (after.best_file, after.best_loss, after.best_epoch) == ("", before.best_loss, before.best_epoch)


def test_make_reference_samples_steps_and_keeps_events_after_resume(finished: Run, tmp_path: Path) -> None:
    run = copy(finished, tmp_path)
    (run.folder / "events.jsonl").unlink()
    log = EventLog(run.folder)
    for step in range(1, 3001):
        log.append(events.Step(step=step, loss=1.0))
    log.append(events.EpochFinished(epoch=1, step=3000, loss=0.5))
    log.append(events.RunResumed(from_step=3000, from_epoch=1, from_offset=log.size))
    log.append(events.EpochFinished(epoch=2, step=6000, loss=0.4))
    log.append(events.RunFinished(seconds=1.0, step=6000))
    log.close()
    summary.write(run.folder, summary.rebuild(run.folder))
    history = make_reference(run, tmp_path / "reference").events()
    steps = [event.step for event in history if isinstance(event, events.Step)]
    assert steps == list(range(3, 3001, 3))
    assert [e.epoch for e in history if isinstance(e, events.EpochFinished)] == [1, 2]


def test_make_reference_refuses_run_with_private_data_and_leaves_no_copy(finished: Run, tmp_path: Path) -> None:
    target = tmp_path / "reference"
    run = copy(finished, tmp_path)
    log = EventLog(run.folder)
    log.append(events.Message(text=f"Made on {socket.gethostname()} with care"))
    log.close()
    with pytest.raises(UserError, match=r"still names this machine: events.jsonl, line \d+"):
        make_reference(run, target)
    assert list(target.iterdir()) == []
    config = run.config()
    assert isinstance(config, DdpmRun)
    photos = msgspec.structs.replace(config, data=msgspec.structs.replace(config.data, dataset="folder:/my/photos"))
    (run.folder / CONFIG_FILE).write_text(configs.to_toml(photos))
    with pytest.raises(UserError, match="files of this machine"):
        make_reference(run, target)
    log = EventLog(run.folder)
    log.append(events.RunStopped(reason="enough"))
    log.close()
    with pytest.raises(UserError, match="stopped, not finished"):
        make_reference(run, target)


def test_make_reference_keeps_the_name_of_a_folder_of_drawn_images(finished: Run, tmp_path: Path) -> None:
    run = copy(finished, tmp_path)
    config = run.config()
    assert isinstance(config, DdpmRun)
    drawn = msgspec.structs.replace(
        config, data=msgspec.structs.replace(config.data, dataset="folder:/tmp/dead-leaves")
    )
    (run.folder / CONFIG_FILE).write_text(configs.to_toml(drawn))
    log = EventLog(run.folder)
    log.append(events.DataLoaded(dataset="folder:/tmp/dead-leaves", split="fit", images=9, sha256="0"))
    log.close()
    made = make_reference(run, tmp_path / "reference")
    assert made.config().data.dataset == "folder:dead-leaves"
    loaded = [event.dataset for event in made.events() if isinstance(event, events.DataLoaded)]
    assert loaded[-1] == "folder:dead-leaves" and not any("/tmp" in name for name in loaded)


def test_make_reference_names_all_images_of_a_board_in_slices(runs: RunsFolder, tmp_path: Path) -> None:
    run = runs.create(configs.build("restore", settings={"restore.first": 4, "restore.images": 2}))
    config = run.config()
    assert isinstance(config, RestoreRun)
    sliced = msgspec.structs.replace(config.restore, earlier=str(tmp_path / "earlier"))
    (run.folder / CONFIG_FILE).write_text(configs.to_toml(msgspec.structs.replace(config, restore=sliced)))
    log = EventLog(run.folder)
    log.append(events.RunStarted(kind="restore", method="", device="cpu"))
    for first in (0, 2, 4):
        log.append(events.RestorationScored(task="denoise", method="dip", psnr=[20.0, 21.0], first=first))
    log.append(events.RunFinished(seconds=1.0))
    log.close()
    copied = make_reference(run, tmp_path / "reference").config()
    assert isinstance(copied, RestoreRun)
    assert (copied.restore.first, copied.restore.images, copied.restore.earlier) == (0, 6, "")


def test_make_reference_refuses_a_second_copy(finished: Run, tmp_path: Path) -> None:
    make_reference(finished, tmp_path)
    with pytest.raises(UserError, match="exists already"):
        make_reference(finished, tmp_path)


def test_find_leaks_searches_words_and_skips_pictures(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text('<img src="data:image/png;base64,AA/vm+/vm==">\n')
    assert find_leaks(tmp_path, ["vm"]) == []
    page.write_text('<img src="data:image/png;base64,AA/vm+/vm==">\n<p>made on vm</p>\n')
    assert find_leaks(tmp_path, ["vm"]) == ["report.html, line 2"]


@pytest.mark.parametrize("folder", sorted(SHIPPED.glob("*")), ids=lambda folder: folder.name)
def test_shipped_reference_runs_are_complete_and_name_no_machine(folder: Path) -> None:
    assert find_leaks(folder) == []
    assert not (folder / "worker.json").exists()
    assert json.loads((folder / "environment.json").read_text())["host"] == ""
    status = Run(folder).status()
    assert status.state is RunState.finished
    assert status.summary == summary.rebuild(folder)
    assert status.config is not None
    assert sum(path.stat().st_size for path in folder.rglob("*")) < 6_000_000
    if isinstance(status.config, DdpmRun) and status.summary.best_file:
        best = next(e for e in reversed(Run(folder).events()) if isinstance(e, events.BestModelStored))
        assert checkpoint.digest(folder / best.file) == best.sha256
        model = TrainedModel.of_run(folder)
        assert model.shape == ((3, 48, 48) if model.any_size else (1, 28, 28))
