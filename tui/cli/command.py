"""Commands whose options are the fields of a dataclass, so that commands can inherit them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, field, fields
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Value = TypeVar("Value")
Result = TypeVar("Result")
Options = TypeVar("Options", bound="DataclassInstance")


def option(
    default: Value, text: str, *names: str, key: str = "", complete: Callable[..., Any] | None = None, **details: Any
) -> Value:
    """Make a field of a dataclass that is an option of a command, with this --help text.

    `key` is the option of the config that it sets, if it sets one; `complete` lists words for the shell; `names` and
    `details` are those of `typer.Option`.
    """
    typer_option = typer.Option(*names, help=text, autocompletion=complete, **details)
    return field(default=default, metadata={"typer": typer_option, "key": key})


def command(options: type[Options]) -> Callable[[Callable[[Options], Result]], Callable[..., Result]]:
    """Turn a function of `options` into a command for typer, which reads options from a signature.

    A field with `init=False` is no option, even if it overrides one. --help lists inherited options last.
    """
    hints = get_type_hints(options, include_extras=True)
    known = {each.name: each for each in fields(options) if each.init}
    own_first = dict.fromkeys(name for base in options.__mro__ for name in inspect.get_annotations(base))
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if known[name].default is MISSING else known[name].default,
            annotation=Annotated[hints[name], known[name].metadata["typer"]] if known[name].metadata else hints[name],
        )
        for name in own_first
        if name in known
    ]

    def decorate(function: Callable[[Options], Result]) -> Callable[..., Result]:
        @functools.wraps(function)
        def run(**values: Any) -> Result:
            return function(options(**values))

        run.__dict__["__signature__"] = inspect.Signature(parameters)
        return run

    return decorate
