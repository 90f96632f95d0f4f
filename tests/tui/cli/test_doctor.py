"""`dipddpm doctor`: its output, its exit code and its findings about terminals."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from dipddpm.core.doctor import Severity
from dipddpm.core.doctor import torch as torches
from dipddpm.core.doctor.finding import TorchReport
from dipddpm.tui.cli.doctor import check_colours, check_letters, check_pictures, check_size
from tests.tui.driving import dipddpm
from tests.tui.terminal import Terminal

HERE = TorchReport(torch="2.15.0", torchvision="0.30", threads=2)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the loading of torch, which takes seconds and has a test of its own."""
    monkeypatch.setattr(torches.Probe, "report", lambda self: HERE)
    monkeypatch.setattr(torches, "query_driver", torches.Driver)


def test_doctor_prints_lines_or_json(quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert dipddpm("doctor") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines if "2.15.0" in line] == [["ok", "torch"]]
    assert "No problems" in lines[-1]
    assert dipddpm("doctor", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["problems"] == 0
    assert {"what": "torch", "verdict": "ok", "remedy": ""}.items() <= record["found"][-3].items()


def test_doctor_exits_1_on_problems(
    quick: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIPDDPM_SLOTS", "\x1b[31mmany")
    assert dipddpm("doctor", "--runs-dir", "/proc/nowhere") == 1
    output = capsys.readouterr().out
    assert "2 problems" in output.splitlines()[-1]
    assert "--runs-dir or DIPDDPM_RUNS" in output
    assert "\x1b" not in output


def test_doctor_describes_terminal_in_posix_locale() -> None:
    # This test needs a real terminal, but not the real torch.
    code = "from dipddpm.core.doctor import torch; torch.Probe.report = lambda self: torch.TorchReport(torch='2')"
    command = [sys.executable, "-P", "-c", f"{code}; from dipddpm.tui.cli.main import main; main()"]
    poor: dict[str, Any] = {
        "LC_ALL": "POSIX",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "TMUX": "",
        "NO_COLOR": "",
    }
    size = (110, 45)
    terminal = Terminal(
        "doctor", "--runs-dir", "r\u00fcns", command=command, size=size, TERM="xterm", COLORTERM="24bit", **poor
    )
    try:
        assert terminal.wait_for_exit() == 0
        # Use the whole output, not the screen: long paths scroll the first lines off it.
        printed = terminal.output.decode()
        assert "terminal     xterm, 110x45" in printed
        assert "true colour" in printed
        assert "LANG=C.UTF-8" in printed
        assert "none yet" in printed
    finally:
        terminal.close()


@pytest.mark.parametrize(
    ("name", "size", "verdict", "remedy"),
    [
        ("xterm", (200, 50), Severity.ok, ""), ("xterm", (90, 30), Severity.ok, "120x36"),
        ("xterm", (60, 20), Severity.note, "80x24"), ("dumb", (200, 50), Severity.note, "TERM"),
        ("", (200, 50), Severity.note, "TERM"),
    ],
)  # fmt: skip
def test_check_size_advises_on_small_or_unknown_terminal(
    name: str, size: tuple[int, int], verdict: Severity, remedy: str
) -> None:
    finding = check_size(name, size)
    assert (finding.verdict, remedy in finding.remedy) == (verdict, True)


TMUX = {"TMUX": "/tmp/tmux-1000/default,1,0"}


@pytest.mark.parametrize(
    ("environment", "features", "verdict", "words"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "", Severity.ok, "true colour"),
        ({"TERM": "xterm-256color"}, "", Severity.note, "256: COLORTERM is not set"),
        ({"TERM": "xterm", "SSH_CONNECTION": "a 1 b 22"}, "", Severity.note, "16: sshd doesn't forward"),
        ({"TERM": "xterm", "COLORTERM": "24bit", "NO_COLOR": "1"}, "", Severity.note, "NO_COLOR"),
        ({"TERM": "screen", **TMUX}, "utf8=1 256", Severity.note, "tmux calls itself screen"),
        ({"TERM": "tmux-256color", "COLORTERM": "truecolor", **TMUX}, "utf8=1 256", Severity.note, "passes on fewer"),
        ({"TERM": "tmux-256color", "COLORTERM": "truecolor", **TMUX}, "utf8=1 256,RGB", Severity.ok, "true colour"),
    ],
)
def test_check_colours_finds_cause_of_fewer_colours(
    environment: dict[str, str], features: str, verdict: Severity, words: str
) -> None:
    finding = check_colours(environment, features)
    assert (finding.verdict, words in finding.message) == (verdict, True), finding


def test_check_letters_finds_missing_utf8() -> None:
    assert check_letters({}, "utf-8", "").verdict is Severity.ok
    assert "LANG=C.UTF-8" in check_letters({}, "ascii", "").remedy
    assert "tmux -u" in check_letters(TMUX, "utf-8", "utf8=0 256").remedy
    assert check_letters(TMUX, "utf-8", "utf8=1 256").verdict is Severity.ok


@pytest.mark.parametrize(
    ("environment", "installed", "text", "remedy"),
    [
        ({"TERM": "xterm-kitty"}, True, "pixels", ""), ({"TERM": "xterm-kitty"}, False, "half", "dipddpm[images]"),
        ({"TERM": "xterm"}, True, "half blocks", ""), ({"TERM": "foot", "DIPDDPM_GRAPHICS": "0"}, True, "half", ""),
    ],
)  # fmt: skip
def test_check_pictures_names_graphics_and_missing_extra(
    environment: Any, installed: bool, text: str, remedy: str
) -> None:
    finding = check_pictures(environment, installed=installed)
    assert finding.message.startswith(text)
    assert remedy in finding.remedy
