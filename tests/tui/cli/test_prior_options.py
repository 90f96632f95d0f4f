"""`dipddpm run hybrid`: the prior in the config with --from, with --epochs and with neither."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from dipddpm.core.runs import RunsFolder
from tests.tui.driving import dipddpm, make_trained_run


def prior_and_epochs(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[str, int]:
    """Return the prior's run and the epochs in the config of a command."""
    assert dipddpm("run", "hybrid", *arguments, "--dry-run") == 0
    config = tomllib.loads(capsys.readouterr().out)
    return config["prior"]["run"], config["ddpm"]["epochs"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--method", "guided"], ("reference", 20)),
        (["--method", "guided", "--epochs", "3"], ("", 3)),
        (["--method", "guided", "--from", "reference"], ("reference", 20)),
        (["--preset", "conditioned", "--epochs", "3"], ("reference", 3)),
        (["--method", "conditioned", "--epochs", "3", "--from", "reference"], ("reference", 3)),
    ],
)
def test_run_hybrid_picks_prior_by_method_and_epochs(
    arguments: list[str], expected: tuple[str, int], runs: RunsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prior_and_epochs(capsys, *arguments) == expected


def test_run_hybrid_from_accepts_run_id_or_folder(
    runs: RunsFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_trained_run(runs)
    for name in (run.id, run.id[-4:], "last", run.folder):
        assert prior_and_epochs(capsys, "--method", "guided", "--from", name)[0] == str(run.folder)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hybrid", "--method", "guided", "--from", "reference", "--epochs", "3"], "--from takes a trained one"),
        (["hybrid", "--method", "substitution", "--from", "reference"], "substitution takes no trained prior"),
        (["hybrid", "--method", "self-diffusion", "--from", "reference"], "self-diffusion takes no trained prior"),
        (["hybrid", "--method", "guided", "--from", "nothing"], "There are no runs"),
        (["dip", "--from", "reference"], "dip takes no trained prior"),
    ],
)
def test_run_refuses_contradictory_prior_options(
    arguments: list[str], words: str, runs: RunsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dipddpm("run", *arguments) == 2
    assert words in capsys.readouterr().err
