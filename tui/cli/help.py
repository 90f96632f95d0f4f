"""The layout of `--help`: one sentence, examples, details, then the options in groups, as plain text.

All of it is written where the command is declared. The docstring holds the sentence, an `Examples:` paragraph with one
command line a line, and the details; `rich_help_panel` of a command, an option or an argument is the heading of its
group. The documentation reads the same data from the objects that typer builds::

    app = typer.main.get_command(dipddpm.tui.cli.main.app)
    for name, command in app.commands.items():  # `data` is a group itself, with `commands` of its own
        command.rich_help_panel, command.sentence, command.examples, command.details
        for heading, parameters in command.groups(typer.Context(command, info_name=name)).items(): ...
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from typer.core import TyperCommand, TyperGroup

from dipddpm.core.data.scan import SUFFIXES
from dipddpm.core.errors import UserError, suggest

GENERAL = "General"
"""The last group of every command; it also takes the options that typer adds, such as `--help`."""
DATA, IMAGES, MACHINE, METHOD, PICTURE = "Data", "Images and task", "Machine", "Method and settings", "Picture"
OUTPUT, RUNS, SAMPLING, SWEEP = "Output", "Runs", "Sampling", "Sweep"
EXAMPLES = "Examples:"
NAME_WIDTH = 26
"""Columns for the names of options; the help of a longer name begins on the next line."""


class HelpLayout:
    """The help text of a command, taken apart, and how it is printed."""

    help: str | None
    get_params: Callable[[Any], list[Any]]

    @property
    def sentence(self) -> str:
        """The first sentence, which says what the command does."""
        return " ".join(self._paragraphs()[0].split())

    @property
    def examples(self) -> list[str]:
        """Command lines that work; a comment may follow after `#`."""
        paragraph = next((text for text in self._paragraphs() if text.startswith(EXAMPLES)), "")
        return [line.strip() for line in paragraph.splitlines()[1:]]

    @property
    def details(self) -> list[str]:
        """The paragraphs after the sentence, without the examples."""
        return [" ".join(text.split()) for text in self._paragraphs()[1:] if not text.startswith(EXAMPLES)]

    def groups(self, ctx: Any) -> dict[str, list[Any]]:
        """Return the options and arguments by the heading of their group, `General` last."""
        groups: dict[str, list[Any]] = {}
        for parameter in self.get_params(ctx):
            if not parameter.hidden:
                groups.setdefault(getattr(parameter, "rich_help_panel", None) or GENERAL, []).append(parameter)
        return dict(sorted(groups.items(), key=lambda group: group[0] == GENERAL))

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write the sentence, the examples and the details."""
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(self.sentence)
        with formatter.section(EXAMPLES.rstrip(":")):
            for line in self.examples:
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")
        if self.details:
            with formatter.section("Details"):
                formatter.write_text("\n\n".join(self.details))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options and arguments in their groups."""
        for heading, parameters in self.groups(ctx).items():
            rows = []
            for parameter in parameters:
                name, text = parameter.get_help_record(ctx)
                if parameter.param_type_name == "argument":
                    name = parameter.metavar or name  # without the type that typer adds
                rows.append((name, text))
            _write_group(formatter, heading, rows)

    def _paragraphs(self) -> list[str]:
        return (self.help or "").split("\n\n")


class HelpCommand(HelpLayout, TyperCommand):
    """A command whose help has examples and groups, and that refuses empty values."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line. Raises UserError for an empty value, such as that of a shell's unset variable.

        An empty path would name the current folder.
        """
        if not ctx.resilient_parsing:
            given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
            for parameter in self.get_params(ctx):
                value = given.get(parameter.name)
                if parameter.name not in _MAY_BE_EMPTY and (value == "" or (isinstance(value, list) and "" in value)):
                    is_option = parameter.param_type_name == "option"
                    name = parameter.opts[0] if is_option else parameter.metavar or parameter.name
                    remedy = "Write a value." if parameter.required else f"Write a value, or leave {name} out."
                    raise UserError(f"The value of {name} is empty.", remedy)
        return super().parse_args(ctx, args)


_MAY_BE_EMPTY = {"name", "group"}
"""Options whose empty value means the same as no value."""
_SYNONYMS = {
    "restore-image": {"denoise", "inpaint", "deblur", "upscale", "superres", "enhance", "repair", "fix"},
    "run": {"train", "start", "launch", "fit", "new"},
    "ls": {"list", "queue", "status", "ps", "runs", "dir"},
    "show": {"info", "describe", "view", "cat", "results"},
    "watch": {"follow", "attach", "tail", "log", "logs"},
    "stop": {"kill", "cancel", "abort", "pause", "halt"},
    "resume": {"continue", "restart", "unpause"},
    "rm": {"delete", "remove", "del", "trash"},
    "fork": {"copy", "cp", "clone", "rerun"},
    "prune": {"clean", "cleanup", "gc"},
    "compare": {"diff", "scores"},
    "sample": {"generate", "draw"},
    "data": {"dataset", "datasets", "download", "fetch"},
    "doctor": {"check", "diagnose"},
    "bench": {"benchmark", "speed"},
    "sweep": {"grid", "search"},
}
"""Words that other programs have for commands of this one."""


def names_picture(word: str) -> bool:
    """Return whether a word on the command line is the name of a picture, by its ending."""
    return PurePath(word).suffix.lower() in SUFFIXES | {".npy"}


class HelpGroup(HelpLayout, TyperGroup):
    """A command with subcommands, whose help has examples and groups."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands in their groups, and then the options."""
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the subcommand that the arguments name. Raises UserError with the nearest one if it doesn't exist."""
        if args[0] not in self.commands and not args[0].startswith("-") and not ctx.resilient_parsing:
            meant = [
                command for command, words in _SYNONYMS.items() if args[0].lower() in words and command in self.commands
            ]
            remedy = f"Did you mean {meant[0]}?" if meant else suggest(args[0], self.commands)
            if names_picture(args[0]) and "restore-image" in self.commands:
                remedy = f"To restore a picture of your own, write: dipddpm restore-image {shlex.quote(args[0])}"
            raise UserError(f"There is no command {args[0]!r}.", remedy)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a line for each command under the heading of its group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            groups.setdefault(command.rich_help_panel or "Commands", []).append((name, command.sentence))
        for heading, rows in groups.items():
            _write_group(formatter, heading, rows, width=max(map(len, self.list_commands(ctx))))


def _write_group(formatter: Any, heading: str, rows: list[tuple[str, str]], width: int = NAME_WIDTH) -> None:
    """Write a heading and two columns; the second one begins in the same column in every group."""
    with formatter.section(heading):
        formatter.write_dl([(f"{name:<{width}}", text) for name, text in rows], col_max=width)
