from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from textual.widgets import Input, Static

from dipddpm.core import config
from dipddpm.core.config import KINDS, PRESETS
from dipddpm.core.errors import UserError
from dipddpm.core.runs import RunsFolder
from dipddpm.tui.console.screens.form import Form
from dipddpm.tui.shared.draft import Draft
from tests.tui.driving import LARGE, SMALL, Driver, Maker, Opener

SIZES = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])


def written(draft: Draft, **values: str) -> Draft:
    fields = {field.key: field for field in draft.fields}
    for key, text in values.items():
        draft.set_value(fields[key.replace("__", ".")], text)
    return draft


def parsed(command: str) -> list[str]:
    words = shlex.split(command)
    assert words[:2] == ["dipddpm", "run"]
    return words[1:]


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_fresh_draft_is_the_default_run(kind: str) -> None:
    assert Draft(kind).config() == config.build(kind, preset=next(iter(PRESETS[kind])))
    assert Draft(kind).command() == f"dipddpm run {kind}"


def test_the_command_starts_the_very_run_that_the_draft_describes(capsys: pytest.CaptureFixture[str]) -> None:
    from dipddpm.tui.cli.main import app

    draft = Draft("hybrid")
    draft.choose("task", "inpaint")
    draft.choose("preset", "quick")
    written(draft, name="a b $HOME", images__indices="3,4", ddpm__lr="0.002", ddpm__epochs="7", seed="3", device="cpu")
    app([*parsed(draft.command()), "--dry-run"], standalone_mode=False)
    assert capsys.readouterr().out == config.to_toml(draft.config())


def test_a_fork_leads_to_the_same_config() -> None:
    asked = config.build(
        "hybrid", task="inpaint:missing=0.7", settings={"ddpm.lr": 0.002, "name": "x", "images.files": ("a b.png",)}
    )
    assert Draft.from_config(asked).config() == asked


def test_a_hybrid_trains_its_prior_where_epochs_are_asked_for_and_no_prior_is_named() -> None:
    asked = written(Draft("hybrid"), ddpm__epochs="3").config()
    assert isinstance(asked, config.HybridRun)
    assert asked.prior.run == ""
    named = written(Draft("hybrid"), ddpm__epochs="3", prior__run="/some/run")
    assert named.config().prior.run == "/some/run"  # type: ignore[union-attr]
    assert "--from /some/run --set ddpm.epochs=3" in named.command()


def test_lists_are_words_in_the_form_and_in_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    from dipddpm.tui.cli.main import app

    draft = written(Draft("restore"), restore__tasks="denoise:sigma=9 superres", restore__sets="glyphs leaves")
    asked = draft.config()
    assert isinstance(asked, config.RestoreRun)
    assert asked.restore.tasks == ("denoise:sigma=9", "superres")
    assert asked.restore.sets == ("glyphs", "leaves")
    app([*parsed(draft.command()), "--dry-run"], standalone_mode=False)
    assert capsys.readouterr().out == config.to_toml(asked)
    assert draft.is_basic("restore.images")
    written(draft, restore__tasks="denoise 'inpaint")
    assert "other half" in draft.problem("restore.tasks")


def test_what_is_put_back_counts_as_not_given() -> None:
    draft = written(Draft("ddpm"), ddpm__epochs="7")
    assert "--epochs 7" in draft.command()
    written(draft, ddpm__epochs="20")
    assert draft.command() == "dipddpm run ddpm"


def test_what_another_kind_does_not_know_is_left_out_and_kept() -> None:
    draft = written(Draft("hybrid"), dip__iterations="70")
    draft.choose("kind", "ddpm")
    assert draft.command() == "dipddpm run ddpm"
    draft.choose("kind", "hybrid")
    assert "--iterations 70" in draft.command()


@pytest.mark.parametrize(
    ("key", "text"),
    [("ddpm__epochs", "0"), ("ddpm__epochs", "many"), ("device", "gpu"), ("images__indices", "9-"), ("ddpm__lr", "")],
)
def test_what_is_wrong_is_said_of_the_option_itself(key: str, text: str) -> None:
    draft = written(Draft("hybrid"), **{key: text})
    assert draft.problem(key.replace("__", ".")).startswith(key.replace("__", "."))
    with pytest.raises(UserError):
        draft.config()


async def form(driver: Driver) -> Form:
    await driver.press("n")
    await driver.until(lambda: isinstance(driver.app.screen, Form), "the form")
    screen = driver.app.screen
    assert isinstance(screen, Form)
    await driver.until(lambda: screen.query(Input), "its options")
    return screen


def line(screen: Form, name: str) -> str:
    return str(screen.query_one(f"#form-{name}", Static).render())


@SIZES
async def test_a_wrong_value_is_told_as_it_is_typed(opened: Opener, size: tuple[int, int]) -> None:
    async with opened(size) as driver:
        screen = await form(driver)
        screen.query_one("#option-ddpm-epochs", Input).focus()
        await driver.press("end", "backspace", "backspace", "0")
        assert line(screen, "trouble").startswith("ddpm.epochs must be")
        assert line(screen, "command") == ""
        await driver.press("ctrl+s")
        assert driver.app.screen is screen, "a wrong run is not started"
        await driver.press("backspace", "5")
        assert "--epochs 5" in line(screen, "command")


async def test_choosing_a_kind_changes_the_options(opened: Opener) -> None:
    async with opened() as driver:
        screen = await form(driver)
        assert screen.query("#pick-method")
        await driver.press("d", "d")  # the kinds that begin with d, one after the other
        await driver.until(lambda: not screen.query("#pick-method"), "a kind without a method")
        assert "dipddpm run ddpm" in line(screen, "command")
        assert not screen.query("#option-dip-lr")


async def test_all_options_are_shown_on_request(opened: Opener) -> None:
    async with opened() as driver:
        screen = await form(driver)
        assert not screen.query("#option-ddpm-batch_size")
        await driver.press("ctrl+o")
        await driver.until(lambda: screen.query("#option-ddpm-batch_size"), "all options")


async def test_a_fork_begins_with_what_the_old_run_had(opened: Opener, make: Maker) -> None:
    make("ddpm", name="shirts", settings={"data.dataset": "fashion-mini", "ddpm.epochs": 33})
    async with opened() as driver:
        await driver.press("f")
        await driver.until(lambda: isinstance(driver.app.screen, Form), "the form")
        screen = driver.app.screen
        assert isinstance(screen, Form)
        await driver.until(lambda: "--epochs 33" in line(screen, "command"), "the old run's epochs")
        assert "--dataset fashion-mini" in line(screen, "command")


async def test_data_that_is_not_here_is_told_before_a_run_is_made(
    opened: Opener, runs: RunsFolder, tmp_path: Path
) -> None:
    async with opened() as driver:
        screen = await form(driver)
        entry = screen.query_one("#option-data-dataset", Input)
        entry.value = f"folder:{tmp_path / 'nowhere'}"
        await driver.pilot.pause()
        await driver.press("ctrl+s")
        await driver.until(lambda: "nowhere" in line(screen, "trouble"), "what is missing")
        assert runs.runs() == []
