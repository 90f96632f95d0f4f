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
def test_draft_defaults_to_first_preset(kind: str) -> None:
    draft, settings, command = Draft(kind), {}, f"dipddpm run {kind}"
    if kind == "image":
        settings = {"images.given": "/a.png"}
        draft.set_values(settings)
        command = f"dipddpm restore-image /a.png --out {Path.cwd()}"
    assert draft.config() == config.build(kind, preset=next(iter(PRESETS[kind])), settings=settings)
    assert draft.command() == command


def test_draft_asks_for_the_picture_to_restore() -> None:
    with pytest.raises(UserError, match="Which picture"):
        Draft("image").config()


def test_draft_command_builds_same_config(capsys: pytest.CaptureFixture[str]) -> None:
    from dipddpm.tui.cli.main import app

    draft = Draft("hybrid")
    draft.choose("task", "inpaint")
    draft.choose("preset", "quick")
    written(draft, name="a b $HOME", images__indices="3,4", ddpm__lr="0.002", ddpm__epochs="7", seed="3", device="cpu")
    app([*parsed(draft.command()), "--dry-run"], standalone_mode=False)
    assert capsys.readouterr().out == config.to_toml(draft.config())


def test_draft_from_config_keeps_config() -> None:
    original = config.build(
        "hybrid", task="inpaint:missing=0.7", settings={"ddpm.lr": 0.002, "name": "x", "images.files": ("a b.png",)}
    )
    assert Draft.from_config(original).config() == original


def test_draft_of_hybrid_trains_prior_if_only_epochs_are_given() -> None:
    built = written(Draft("hybrid"), ddpm__epochs="3").config()
    assert isinstance(built, config.HybridRun)
    assert built.prior.run == ""
    named = written(Draft("hybrid"), ddpm__epochs="3", prior__run="/some/run")
    assert named.config().prior.run == "/some/run"  # type: ignore[union-attr]
    assert "--from /some/run --set ddpm.epochs=3" in named.command()


@pytest.mark.parametrize(("method", "prior"), [("conditioned", "reference"), ("guided", "")])
def test_draft_with_epochs_takes_prior_as_its_command_does(
    method: str, prior: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from dipddpm.tui.cli.main import app

    draft = Draft("hybrid")
    draft.choose("method", method)
    built = written(draft, ddpm__epochs="3").config()
    assert isinstance(built, config.HybridRun)
    assert built.prior.run == prior
    app([*parsed(draft.command()), "--dry-run"], standalone_mode=False)
    assert capsys.readouterr().out == config.to_toml(built)


def test_draft_reads_lists_as_words(capsys: pytest.CaptureFixture[str]) -> None:
    from dipddpm.tui.cli.main import app

    draft = written(Draft("restore"), restore__tasks="denoise:sigma=9 superres", restore__sets="glyphs leaves")
    built = draft.config()
    assert isinstance(built, config.RestoreRun)
    assert built.restore.tasks == ("denoise:sigma=9", "superres")
    assert built.restore.sets == ("glyphs", "leaves")
    app([*parsed(draft.command()), "--dry-run"], standalone_mode=False)
    assert capsys.readouterr().out == config.to_toml(built)
    assert draft.is_basic("restore.images")
    written(draft, restore__tasks="denoise 'inpaint")
    assert "unclosed quotation" in draft.problem("restore.tasks")


def test_draft_omits_values_reset_to_default() -> None:
    draft = written(Draft("ddpm"), ddpm__epochs="7")
    assert "--epochs 7" in draft.command()
    written(draft, ddpm__epochs="20")
    assert draft.command() == "dipddpm run ddpm"


def test_draft_keeps_values_while_another_kind_is_chosen() -> None:
    draft = written(Draft("hybrid"), dip__iterations="70")
    draft.choose("kind", "ddpm")
    assert draft.command() == "dipddpm run ddpm"
    draft.choose("kind", "hybrid")
    assert "--iterations 70" in draft.command()


@pytest.mark.parametrize(
    ("key", "text"),
    [("ddpm__epochs", "0"), ("ddpm__epochs", "many"), ("device", "gpu"), ("images__indices", "9-"), ("ddpm__lr", "")],
)
def test_draft_problem_names_wrong_option(key: str, text: str) -> None:
    draft = written(Draft("hybrid"), **{key: text})
    assert draft.problem(key.replace("__", ".")).startswith(key.replace("__", "."))
    with pytest.raises(UserError):
        draft.config()


async def form(driver: Driver, kind: str = "hybrid") -> Form:
    await driver.press("n")
    await driver.until(lambda: isinstance(driver.app.screen, Form), "the form")
    screen = driver.app.screen
    assert isinstance(screen, Form)
    await driver.until(lambda: screen.query(Input), "its options")
    while screen.draft.kind != kind:
        await driver.press("right")
    return screen


def line(screen: Form, name: str) -> str:
    return str(screen.query_one(f"#form-{name}", Static).render())


@SIZES
async def test_form_shows_problem_while_typing_and_refuses_start(opened: Opener, size: tuple[int, int]) -> None:
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


@SIZES
async def test_form_moves_focus_with_arrow_keys(opened: Opener, size: tuple[int, int]) -> None:
    async with opened(size) as driver:
        screen = await form(driver)
        await driver.press("down", "down")
        await driver.until(lambda: screen.focused and screen.focused.id == "pick-preset", "the third option")
        await driver.press("up")
        await driver.until(lambda: screen.focused and screen.focused.id == "pick-method", "the second option")


async def test_form_changes_options_with_kind(opened: Opener) -> None:
    async with opened() as driver:
        screen = await form(driver)
        assert screen.query("#pick-method")
        await driver.press("d", "d")  # the kinds that start with d, one after the other
        await driver.until(lambda: not screen.query("#pick-method"), "a kind without a method")
        assert "dipddpm run ddpm" in line(screen, "command")
        assert not screen.query("#option-dip-lr")


async def test_form_shows_all_options_on_ctrl_o_and_checks_them_once(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened() as driver:
        screen = await form(driver)
        assert not screen.query("#option-ddpm-batch_size")
        checked: list[str] = []
        problem = Draft.problem

        def count(draft: Draft, key: str) -> str:
            checked.append(key)
            return problem(draft, key)

        monkeypatch.setattr(Draft, "problem", count)
        await driver.press("ctrl+o")
        await driver.until(lambda: screen.query("#option-ddpm-batch_size"), "all options")
        await driver.settle()
    # Once for all options, and once when an option gets the focus.
    assert len(checked) <= 2 * len(set(checked))


async def test_form_of_fork_starts_with_options_of_old_run(opened: Opener, make: Maker) -> None:
    make("ddpm", name="shirts", settings={"data.dataset": "fashion-mini", "ddpm.epochs": 33})
    async with opened() as driver:
        await driver.press("f")
        await driver.until(lambda: isinstance(driver.app.screen, Form), "the form")
        screen = driver.app.screen
        assert isinstance(screen, Form)
        await driver.until(lambda: "--epochs 33" in line(screen, "command"), "the old run's epochs")
        assert "--dataset fashion-mini" in line(screen, "command")


async def test_form_reports_missing_data_before_making_run(opened: Opener, runs: RunsFolder, tmp_path: Path) -> None:
    async with opened() as driver:
        screen = await form(driver)
        entry = screen.query_one("#option-data-dataset", Input)
        entry.value = f"folder:{tmp_path / 'nowhere'}"
        await driver.settle()
        await driver.press("ctrl+s")
        await driver.until(lambda: "nowhere" in line(screen, "trouble"), "the error")
        assert runs.runs() == []
