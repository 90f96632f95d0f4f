"""Shell completion, through the protocols of three shells and in a real bash and zsh."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core.config import HYBRIDS, PICTURE_METHODS, PRESETS
from dipddpm.core.runs import RunsFolder
from dipddpm.tui.cli.complete import COMPLETION_VARIABLE, rejoin_words, shell_safe
from tests.test_imports import loaded
from tests.tui.driving import Maker, dipddpm
from tests.tui.terminal import Terminal

Offered = Callable[..., list[str]]


@pytest.fixture
def offered(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Offered:
    """Return the completions that bash gets for words as bash splits them; the last word is being typed."""

    def complete(*words: str) -> list[str]:
        monkeypatch.setenv(COMPLETION_VARIABLE, "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(["dipddpm", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        assert dipddpm() == 0
        return capsys.readouterr().out.splitlines()

    return complete


def test_completion_offers_commands_and_option_values(offered: Offered) -> None:
    assert {"run", "restore", "doctor"} <= set(offered(""))
    assert offered("run", "") == ["dip", "ddpm", "hybrid", "acceleration", "map"]
    assert offered("run", "hybrid", "--method", "") == list(HYBRIDS)
    assert offered("run", "hybrid", "--method", "g") == ["guided"]
    assert offered("run", "dip", "--preset", "") == list(PRESETS["dip"])
    assert offered("restore-image", "a.png", "--method", "") == ["auto", *PICTURE_METHODS]
    assert offered("restore-image", "a.png", "--task", "inp") == ["inpaint"]
    assert "picture.tile=0" in offered("restore-image", "a.png", "--set", "picture.")
    assert offered("restore", "--preset", "") == list(PRESETS["restore"])
    assert offered("run", "ddpm", "--dataset", "fa") == ["fashionmnist", "fashion-mini"]
    assert offered("run", "ddpm", "--device", "")[:2] == ["auto", "cpu"]
    assert offered("restore", "--set-of-images", "gl") == ["glyphs"]
    assert offered("data", "fetch", "k") == ["kmnist"]
    assert "tensorboard" in offered("export", "last", "--to", "")


def test_completion_offers_set_keys_with_defaults_and_values(offered: Offered) -> None:
    keys = offered("run", "ddpm", "--set", "ddpm.")
    assert {"ddpm.lr=0.001", "ddpm.objective=eps", "ddpm.hold_out=false"} <= set(keys)
    assert all(key.startswith("ddpm.") for key in keys)
    assert offered("run", "ddpm", "--set", "ddpm.obj") == [f"ddpm.objective={word}" for word in ("eps", "x0", "v")]
    # bash replaces only the part after the equals sign.
    assert offered("run", "ddpm", "--set", "ddpm.objective", "=") == ["eps", "x0", "v"]
    assert offered("run", "ddpm", "--set", "ddpm.hold_out", "=", "t") == ["true"]
    assert offered("run", "dip", "--set", "hybrid.") == []
    assert "hybrid.weight=0.1" in offered("run", "hybrid", "--method", "guided", "--set", "hybrid.")
    assert "restore.images=50" in offered("restore", "--set", "restore.")
    assert offered("run", "ddpm", "--set", "no.such") == []


def test_completion_offers_tasks_and_their_options(offered: Offered) -> None:
    assert offered("run", "dip", "--task", "de") == ["denoise", "deblur"]
    assert {"missing=0.5", "blind=false"} <= set(offered("run", "dip", "--task", "inpaint", ":"))
    assert offered("run", "dip", "--task", "denoise", ":", "noise", "=", "poi") == ["poisson", "poisson-gaussian"]
    assert offered("run", "dip", "--task", "inpaint", ":", "missing", "=", "0.7,m") == ["0.7,mask="]
    assert offered("run", "dip", "--task", "unknown", ":") == []


def test_completion_offers_groups(offered: Offered, make: Maker) -> None:
    for group in ("night", "night", "day", ""):
        make("dip", psnr=[20.0], settings={"group": group})
    assert offered("compare", "--group", "") == ["night", "day"]
    assert offered("ls", "--group", "d") == ["day"]


def test_completion_offers_runs_newest_first(offered: Offered, make: Maker, runs: RunsFolder) -> None:
    for _ in range(3):
        make("ddpm")
    ids = [run.id for run in runs.runs()]
    assert offered("show", "") == [*ids, "last", "reference", "leaves"]
    assert offered("show", ids[1]) == [ids[1]]
    assert offered("show", "l") == ["last", "leaves"]
    assert offered("resume", "--runs-dir", "/nowhere", "2") == []


def test_completion_describes_runs_to_zsh_and_fish(
    make: Maker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make("ddpm", name="first")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "dipddpm show 2")
    monkeypatch.setenv(COMPLETION_VARIABLE, "complete_zsh")
    dipddpm()
    assert capsys.readouterr().out.strip() == f"""_arguments '*: :(("{run.id}":"tutorial finished first"))'"""
    monkeypatch.setenv(COMPLETION_VARIABLE, "complete_fish")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    dipddpm()
    assert capsys.readouterr().out.strip() == f"{run.id}\ttutorial finished first"


HOSTILE = """'"$(touch pwned)`touch pwned`\\`touch pwned\\`[red];touch pwned\n"""


@given(st.text())
def test_shell_safe_removes_special_characters(text: str) -> None:
    assert not set(shell_safe(text)) & set("'\"`$\\[]{}<>|&!*?~#\n\x1b")


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_completion_executes_no_run_name_in_zsh(make: Maker, runs: RunsFolder, tmp_path: Path) -> None:
    make("ddpm", name=HOSTILE)
    shutil.copytree(runs.runs()[0].folder, runs.root / "20261123-000000-$(touch pwned)-0000")
    command = [sys.executable, "-P", "-c", "from dipddpm.tui.cli.main import main; main()"]
    offer = subprocess.run(
        command,
        env=os.environ | {COMPLETION_VARIABLE: "complete_zsh", "_TYPER_COMPLETE_ARGS": "dipddpm show 2"},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "touch" in offer
    script = '_arguments() { print -r -- "$@" }; eval "$OFFER"'
    done = subprocess.run(
        ["zsh", "-f", "-c", script],
        env=os.environ | {"OFFER": offer}, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert runs.runs()[0].id in done.stdout
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("words", "rejoined", "length"),
    [
        (["a", "b"], ["a", "b"], 0),
        (["a", "k", "="], ["a", "k="], 2),
        (["a", "k", "=", "v"], ["a", "k=v"], 2),
        (["a", "t", ":", "k", "=", "v", "next"], ["a", "t:k=v", "next"], 0),
        (["a", "t", ":", "k", "=", "1,m"], ["a", "t:k=1,m"], 4),
        (["a", ""], ["a", ""], 0),
    ],
)
def test_rejoin_words_undoes_bash_word_breaks(words: list[str], rejoined: list[str], length: int) -> None:
    assert rejoin_words(words) == (rejoined, length)


def test_completion_loads_neither_torch_nor_console(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMPLETION_VARIABLE, "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "dipddpm\nshow\n")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert not loaded("from dipddpm.tui.cli.main import main; main()") & {"torch", "numpy", "textual", "plotext", "PIL"}


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_completion_works_in_interactive_bash(make: Maker, tmp_path: Path) -> None:
    run = make("ddpm")
    program = tmp_path / "bin" / "dipddpm"
    program.parent.mkdir()
    program.write_text(
        f"#!/bin/sh\nexec {sys.executable} -P -c 'from dipddpm.tui.cli.main import main; main()' \"$@\"\n"
    )
    program.chmod(0o755)
    setup = tmp_path / "rc"
    setup.write_text(f"PS1='> '; source <({COMPLETION_VARIABLE}=source_bash dipddpm); echo ready\n")
    path = f"{program.parent}:{os.environ['PATH']}"
    bash = Terminal(command=["bash", "--rcfile", str(setup), "-i"], size=(120, 24), PATH=path)
    try:
        bash.until_seen("ready")
        bash.until_seen("> ")
        for typed, completed in (
            ("show 2", f"show {run.id}"),
            ("run dip --task denoise:s", "--task denoise:sigma=25"),
            ("run ddpm --set ddpm.objective=x", "--set ddpm.objective=x0"),
        ):
            bash.write(b"\x15dipddpm " + typed.encode() + b"\t")
            bash.until_seen(f"> dipddpm {typed}"[:20])
            bash.until_seen(completed)
    finally:
        bash.process.kill()
        bash.process.wait()
        bash.close()
