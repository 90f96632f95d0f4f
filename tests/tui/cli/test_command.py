"""A command made from a class of options: its options, their order and their defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import typer
from typer.testing import CliRunner

from dipddpm.tui.cli.command import command, option
from dipddpm.tui.cli.options import NewRun


@dataclass(frozen=True, kw_only=True)
class Options(NewRun):
    word: Annotated[str, typer.Argument()]
    count: int = option(2, "Number of words.", group="Words", key="a.count", min=1)
    device: str | None = field(default=None, init=False)


@command(Options)
def show(options: Options) -> None:
    """Print the values of the options."""
    print(options.word, options.count, options.seed, options.device)


def invoke(*arguments: str) -> tuple[int, str]:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(show)
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.output


def test_command_fills_own_and_inherited_fields() -> None:
    assert invoke("one") == (0, "one 2 None None\n")
    assert invoke("one", "--count", "3", "--seed", "7") == (0, "one 3 7 None\n")
    assert invoke("one", "--count", "0")[0] == 2
    assert invoke()[0] == 2


def test_command_has_no_option_for_field_without_init() -> None:
    code, output = invoke("one", "--device", "cpu")
    assert code == 2
    assert "--device" in output


def test_command_help_lists_own_options_first() -> None:
    code, text = invoke("--help")
    assert code == 0
    assert "Print the values of the options." in text
    assert -1 < text.index("--count") < text.index("--set") < text.index("--seed") < text.index("--json")


def test_config_settings_hold_options_with_key() -> None:
    given = Options(word="one", seed=7, settings=["a.count=5", "b=6"], count=3)
    assert given.config_settings() == {"a.count": 3, "b": "6", "seed": 7}
