"""A run whose config.toml was spoilt by hand: every command that would go on with it refuses, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dipddpm.core.errors import UserError
from dipddpm.core.launch import local, worker
from dipddpm.core.runs import CONFIG_FILE, EVENTS_FILE, Run, RunsFolder, RunState, extend, summary
from dipddpm.tui.cli.main import main
from tests.helpers import record_calls
from tests.tui.driving import Maker

Output = pytest.CaptureFixture[str]
Spoil = Callable[[bytes], bytes]

SPOILT: dict[str, tuple[Spoil, str]] = {
    "value": (lambda text: text.replace(b"lr = 0.001", b"lr = -1.0"), "ddpm.lr must be a number above 0"),
    "word": (lambda text: text.replace(b"lr = 0.001", b"lr = fast"), "is not a TOML file"),
    "type": (lambda text: text.replace(b"lr = 0.001", b'lr = "fast"'), "ddpm.lr must be a number"),
    "key": (lambda text: text.replace(b"lr = 0.001", b"rl = 0.001"), "There is no option 'ddpm.rl'."),
    "section": (lambda text: text.replace(b"[ddpm]", b"[ddmp]"), "There is no option 'ddmp'."),
    "truncated": (lambda text: text[: text.index(b"lr = ") + 2], "is not a TOML file"),
    "empty": (lambda text: b"", "The config has no kind."),
    "utf-16": (lambda text: text.decode().encode("utf-16"), "is not text in UTF-8"),
    "latin-1": (lambda text: text + "# café\n".encode("latin-1"), "is not text in UTF-8"),
    "newer": (lambda text: text.replace(b"version = 1", b"version = 2"), "has format 2"),
}


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return the workers that were started."""
    started: list[object] = []

    def start(run: Run, **_: object) -> None:
        started.append(run)

    monkeypatch.setattr(local, "_start_here", start)
    return started


def refused(capsys: Output, *arguments: str) -> str:
    """Return what a refused command prints to stderr; it prints nothing else and exits with 2."""
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    output = capsys.readouterr()
    assert (caught.value.code, output.out) == (2, "")
    return output.err


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "summary.json"}


def spoil(run: Run, kind: str) -> str:
    """Spoil the config of a run, and return words of the complaint about it."""
    change, words = SPOILT[kind]
    path = run.folder / CONFIG_FILE
    before = path.read_bytes()
    path.write_bytes(change(before))
    assert path.read_bytes() != before
    return words


@pytest.mark.parametrize("kind", SPOILT)
def test_spoilt_config_is_refused_before_anything_starts(
    kind: str, make: Maker, starts: list[object], capsys: Output
) -> None:
    run = make(state="stopped")
    run.status()
    words = spoil(run, kind)
    before = contents(run.folder.parent)
    for command in (("resume", run.id), ("resume", run.id, "--detach"), ("fork", run.id, "--detach")):
        assert words in refused(capsys, *command)
    with pytest.raises(UserError) as caught:
        local.resume(run)
    assert words in caught.value.problem
    assert contents(run.folder.parent) == before
    assert starts == []


@pytest.mark.parametrize("kind", ["value", "truncated"])
def test_finished_run_with_spoilt_config_is_not_extended(kind: str, make: Maker) -> None:
    run = make(state="finished")
    (run.folder / "checkpoints" / "last.safetensors").touch()
    words = spoil(run, kind)
    with pytest.raises(UserError) as caught:
        extend.extend(RunsFolder(run.folder.parent), run, 3)
    assert words in caught.value.problem
    assert [path.name for path in run.folder.parent.iterdir()] == [run.id]


def test_requeued_job_with_spoilt_config_logs_the_reason(make: Maker, capsys: Output) -> None:
    """Nobody is there to refuse the job of a cluster that starts it again."""
    run = make(state="crashed")
    summary.write(run.folder, summary.read(run.folder))
    words = spoil(run, "value")
    assert worker.main([str(run.folder), "--resume", "--now", "--job"]) == 2
    assert words in capsys.readouterr().err
    status = run.status()
    assert status.state is RunState.failed
    assert words in status.summary.error
    assert str(run.folder / CONFIG_FILE) in status.hint


def test_process_of_several_with_spoilt_config_writes_nothing(
    make: Maker, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    run = make(state="crashed")
    words = spoil(run, "type")
    log = (run.folder / EVENTS_FILE).read_bytes()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert worker.main([str(run.folder), "--resume", "--member-of", "cpu,cpu"]) == 2
    assert words in capsys.readouterr().err
    assert (run.folder / EVENTS_FILE).read_bytes() == log


def test_run_resumes_after_windows_editor(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(state="stopped")
    path = run.folder / CONFIG_FILE
    expected = run.config()
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert run.config() == expected
    started = record_calls(monkeypatch, local, "start")
    monkeypatch.setattr(local, "_start_here", lambda *_, **__: None)
    local.resume(run)
    assert len(started) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "ddpm", "--set", "ddpm.lr=-1"),
        ("run", "ddpm", "--set", "ddpm.lr=nan"),
        ("run", "dip", "--set", "dip.stop=discrepancy", "--task", "inpaint:missing=0.5"),
        ("run", "dip", "--gpus", "3", "--images", "2"),
        ("run", "ddpm", "--gpus", "2", "--set", "unet.dropout=0.1"),
        ("run", "hybrid", "--set", "images.indices=5-2"),
        ("run", "dip", "--set", "data.train_images=1.5"),
        ("sweep", "dip", "--over", "dip.lr=0.1,-1"),
        ("sweep", "ddpm", "--over", "ddpm.lr=0.1,0.2", "--set", "ddpm.epochs=0"),
        ("restore", "--set", "restore.images=0"),
        ("reproduce", "--set", "study.images=9-1"),
    ],
)
def test_invalid_settings_are_refused_before_anything_is_made(
    arguments: tuple[str, ...], runs: RunsFolder, starts: list[object], capsys: Output
) -> None:
    assert len(refused(capsys, *arguments).splitlines()) == 2
    assert not runs.root.exists()
    assert starts == []
