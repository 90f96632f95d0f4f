"""Standard streams that are closed, full or without UTF-8, in real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest
from rich.cells import cell_len

from dipddpm.core.runs import RunsFolder
from tests.helpers import PATIENCE_SECONDS
from tests.tui.driving import Maker

CLI = "from dipddpm.tui.cli.main import main; main({})"
CONSOLE = "import sys; from dipddpm.tui.console.__main__ import main; sys.exit(main(['--once']))"


def run(code: str, *, stdout: int | IO[Any] | None = subprocess.PIPE, before: str = "", **environment: str) -> Any:
    """Run code in a new process, in which `before` comes first, and refuse a traceback on its error output."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"{before}\n{code}"],
        stdout=stdout,
        stderr=subprocess.PIPE,
        check=False,
        timeout=PATIENCE_SECONDS,
        env=os.environ | environment,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    assert b"bug" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    return done


@pytest.fixture
def made(runs: RunsFolder) -> RunsFolder:
    """Return a runs folder with a finished run, whose line in the console has signs beyond ASCII."""
    Maker(runs.root)("ddpm", name="Größe 日本 ±")
    return runs


COMMANDS = {"ls": CLI.format(["ls"]), "json": CLI.format(["ls", "--json"]), "help": CLI.format(["--help"])}
COMMANDS |= {"watch": CLI.format(["watch", "last"]), "console": CONSOLE}
COMMANDS |= {"console help": CONSOLE.replace("--once", "--help")}


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("name", COMMANDS)
def test_full_output_is_reported_in_a_sentence(name: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = run(COMMANDS[name], stdout=full)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[0] == (
        "The output is incomplete, because it can't be written: No space left on device."
    )


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("name", COMMANDS)
def test_closed_pipe_is_no_error(name: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run(COMMANDS[name], stdout=writing)
    finally:
        os.close(writing)
    assert done.returncode == 0
    assert done.stderr == b""


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)], ids=str)
def test_closed_streams_are_no_error(closed: tuple[int, ...]) -> None:
    for name in ("ls", "console"):
        command = f'{sys.executable} -P -c "$CODE" {" ".join(f"{number}>&-" for number in closed)}'
        done = subprocess.run(
            ["sh", "-c", command], env=os.environ | {"CODE": COMMANDS[name]}, check=False, timeout=PATIENCE_SECONDS
        )
        assert done.returncode == 0


def test_full_error_output_keeps_exit_code() -> None:
    command = f'{sys.executable} -P -c "$CODE" 2>/dev/full'
    code = CLI.format(["show", "nonesuch"])
    done = subprocess.run(["sh", "-c", command], env=os.environ | {"CODE": code}, check=False, timeout=PATIENCE_SECONDS)
    assert done.returncode == 2


@pytest.mark.usefixtures("made")
def test_signs_of_other_encodings_keep_columns_and_are_explained_once() -> None:
    full = run(COMMANDS["console"], PYTHONIOENCODING="utf-8").stdout.decode().splitlines()
    done = run(COMMANDS["console"], PYTHONIOENCODING="ascii")
    lines = done.stdout.decode("ascii").splitlines()
    assert "\\u" not in done.stdout.decode()
    bars = [(cell_len(line.partition("▕")[0]), short) for line, short in zip(full, lines, strict=True) if "▕" in line]
    assert {short[column] for column, short in bars} == {"|"}
    assert done.stderr.decode().count("LANG=C.UTF-8") == 1
    assert done.returncode == 0


@pytest.mark.usefixtures("made")
def test_json_in_other_encodings_has_same_value() -> None:
    whole, plain = (run(COMMANDS["json"], PYTHONIOENCODING=name) for name in ("utf-8", "ascii"))
    assert json.loads(plain.stdout.decode("ascii")) == json.loads(whole.stdout.decode("utf-8"))
    assert "Größe 日本 ±" in {run["name"] for run in json.loads(plain.stdout)}
    assert plain.stderr == b""


@pytest.mark.usefixtures("made")
def test_command_line_runs_in_thread() -> None:
    code = "import threading; t = threading.Thread(target=main, args=[['watch']])"
    done = run(f"from dipddpm.tui.cli.main import main\n{code}\nt.start(); t.join()")
    assert b"Finished" in done.stdout


@pytest.mark.parametrize("redirection", ["<&-", "<&- >&- 2>&-", "</dev/null"])
@pytest.mark.parametrize("command", ["rm", "prune"])
def test_question_without_input_removes_nothing(command: str, redirection: str, made: RunsFolder) -> None:
    spare = made.runs()[0].folder / "checkpoints/last.safetensors"
    spare.write_bytes(b"x")
    spare.with_name("best.safetensors").write_bytes(b"x")
    line = f'{sys.executable} -P -c "$CODE" {redirection}'
    code = CLI.format([command, "last"])
    done = subprocess.run(["sh", "-c", line], env=os.environ | {"CODE": code}, check=False, timeout=60)
    assert done.returncode == 2
    assert spare.is_file()


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_closed_pipe_ends_no_work(unbuffered: str, made: RunsFolder) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run(CLI.format(["rm", "last", "--yes"]), stdout=writing, PYTHONUNBUFFERED=unbuffered)
        refused = run(CLI.format(["show", "nonesuch"]), stdout=writing, PYTHONUNBUFFERED=unbuffered)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
    assert not made.runs()
    assert refused.returncode == 2


def test_following_ends_with_its_reader(make: Maker) -> None:
    live = make("ddpm", name="night", state="running")
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run(CLI.format(["watch", live.id]), stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
