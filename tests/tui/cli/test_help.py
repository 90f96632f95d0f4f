"""`--help` of every command: the sentence, the examples, and the options in their groups."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from dipddpm.tui.cli.main import app
from tests.tui.driving import Maker, dipddpm

ROOT: Any = typer.main.get_command(app)


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command with its words, subcommands included; a new command of the app is found here."""
    yield words, command
    for name, subcommand in getattr(command, "commands", {}).items():
        yield from commands(subcommand, (*words, name))


COMMANDS = list(commands(ROOT))
EVERY_COMMAND = pytest.mark.parametrize(
    ("words", "command"), COMMANDS, ids=[" ".join(w) or "dipddpm" for w, _ in COMMANDS]
)


def parse(command: Any, arguments: list[str]) -> None:
    """Parse a command line, without running anything."""
    while arguments and arguments[0] in getattr(command, "commands", {}):
        command, arguments = command.commands[arguments[0]], arguments[1:]
    assert not (arguments and hasattr(command, "commands")), f"no command {arguments}"
    command.make_context("dipddpm", list(arguments))


@EVERY_COMMAND
def test_help_begins_with_sentence_and_examples_in_80_columns(
    words: tuple[str, ...], command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dipddpm(*words, "--help") == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    usage, sentence, examples = re.split(r"\n\n", text)[:3]
    assert usage.startswith("Usage: dipddpm")
    assert " ".join(sentence.split()) == command.sentence
    assert re.fullmatch(r"[A-Z][^.]*\.", command.sentence)
    assert examples.splitlines()[0] == "Examples:"
    assert [line.strip() for line in examples.splitlines()[1:]] == command.examples
    assert all(detail.endswith(".") for detail in command.details)


@EVERY_COMMAND
def test_help_examples_parse(words: tuple[str, ...], command: Any) -> None:
    assert 1 <= len(command.examples) <= 3
    for example in command.examples:
        program, *arguments = shlex.split(example, comments=True)
        assert program == "dipddpm"
        assert not words or tuple(arguments[: len(words)]) == words
        parse(ROOT, arguments)


@EVERY_COMMAND
def test_help_explains_every_option_in_a_group_with_its_default(words: tuple[str, ...], command: Any) -> None:
    context = typer.Context(command, info_name="dipddpm")
    added_by_typer = {"help", "install_completion", "show_completion"}
    for heading, parameters in command.groups(context).items():
        assert heading
        for parameter in parameters:
            name, text = parameter.get_help_record(context)
            if parameter.name in added_by_typer:
                continue
            assert parameter.rich_help_panel == heading, name
            sentences, *_ = text.partition("  [")
            assert re.fullmatch(r"\S.*\.", sentences), name
            if parameter.default not in {None, False, ""}:
                assert f"[default: {parameter.default}" in text, name


@pytest.mark.parametrize("command", ["run", "fork", "restore", "reproduce"])
def test_help_examples_make_valid_configs(command: str, make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    make("dip", psnr=[20.0])
    make("restore", losses=[], settings={"restore.images": 12})
    for example in ROOT.commands[command].examples:
        assert dipddpm(*shlex.split(example)[1:], "--dry-run") == 0, example
        assert "seed = " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "option", "default"),
    [("restore", "images", 50), ("restore", "seeds", 3), ("run", "epochs", 20), ("run", "method", "calibrated")],
)
def test_help_names_default_of_config(words: str, option: str, default: object) -> None:
    parameters = {parameter.name: parameter for parameter in ROOT.commands[words].params}
    assert parameters[option].help.endswith(f"[default: {default}]")
    # A fork takes its values from another run instead.
    assert [parameter.help for parameter in ROOT.commands["fork"].params if parameter.name == "seed"] == [
        "Seed of every random draw."
    ]


def test_help_lists_commands_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert dipddpm("--help") == 0
    text = capsys.readouterr().out
    for name, command in ROOT.commands.items():
        group = re.search(rf"^{command.rich_help_panel}:\n((?:  .*\n)+)", text, re.MULTILINE)
        assert group is not None
        assert re.search(rf"^  {name} ", group[1], re.MULTILINE)
