"""The command that the form shows works in any folder."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from dipddpm.core import config as configs
from dipddpm.tui.shared.draft import Draft
from tests.tui.driving import dipddpm


@pytest.mark.parametrize("mask", ["mask.png", "a mask, of holes.png", "m,a=b:c.png"])
def test_command_of_draft_gives_the_same_config_in_another_folder(
    mask: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(here)
    draft = Draft("dip")
    draft.choose("task", "inpaint")
    typed = {"images.files": "a.png 'b c.png'", "task.mask": mask, "task.sigma": "3", "data.dataset": "folder:pics@32"}
    draft.set_values(typed)
    config = draft.config()
    words = shlex.split(draft.command())
    monkeypatch.chdir(elsewhere)
    assert dipddpm(*words[1:], "--dry-run") == 0
    assert capsys.readouterr().out == configs.to_toml(config)


@pytest.mark.parametrize("task", ["denoise", "denoise:sigma=25", "denoise:noise=poisson", "inpaint:box=3", "deblur"])
@pytest.mark.parametrize("kind", ["dip", "hybrid", "image"])
def test_draft_of_given_pictures_yields_their_config(kind: str, task: str) -> None:
    config = configs.build(kind, task=task, settings={"images.given": ("a.png",)})
    assert Draft.from_config(config).config() == config
