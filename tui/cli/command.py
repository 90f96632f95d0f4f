"""Commands whose options are the fields of a dataclass, so that commands can inherit options."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, field, fields
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from dipddpm.core import config as configs
from dipddpm.core.config.tasks import Denoise, format_task

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Value = TypeVar("Value")
Result = TypeVar("Result")
Options = TypeVar("Options", bound="DataclassInstance")


def option(
    default: Value,
    text: str,
    *names: str,
    group: str,
    key: str = "",
    config_default: str = "",
    complete: Callable[..., Any] | None = None,
    **details: Any,
) -> Value:
    """Make a dataclass field that is an option of a command, with `text` as its help and `group` as its heading.

    `key` is the option of the config that it sets, if it sets one; the help shows the default of `key`, or of another
    option of the config, `config_default`. `complete` lists words for the shell; `names` and `details` go to
    `typer.Option`.
    """
    typer_option = typer.Option(*names, help=text, rich_help_panel=group, autocompletion=complete, **details)
    return field(default=default, metadata={"typer": typer_option, "key": key, "default": config_default or key})


def with_config_default(text: str, key: str) -> str:
    """Append the default of an option of the config to a help text, in the brackets that typer uses."""
    default = _config_defaults().get(key)
    if isinstance(default, tuple):
        default = " ".join(default)
    return text if default is False or default in (None, "") else f"{text}  [default: {default}]"


@functools.cache
def _config_defaults() -> dict[str, Any]:
    """Return the default of every option of every kind of run; `dip`, `ddpm` and `hybrid` win over the others."""
    defaults: dict[str, Any] = {"hybrid.method": configs.DEFAULT_HYBRID, "task": format_task(Denoise())}
    for kind in configs.KINDS:
        for known in configs.describe(kind):
            defaults.setdefault(known.key, known.default)
    return defaults


def command(
    options: type[Options], *, config_defaults: bool = True
) -> Callable[[Callable[[Options], Result]], Callable[..., Result]]:
    """Turn a function of `options` into a command for typer, which reads options from a signature.

    A field with `init=False` is not an option, even if it overrides one. `--help` lists inherited options last, and
    shows the defaults of the config unless `config_defaults` is off.
    """
    hints = get_type_hints(options, include_extras=True)
    known = {each.name: each for each in fields(options) if each.init}
    own_first = dict.fromkeys(name for base in options.__mro__ for name in inspect.get_annotations(base))
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if known[name].default is MISSING else known[name].default,
            annotation=_annotation(hints[name], known[name].metadata, config_defaults=config_defaults),
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


def _annotation(hint: Any, metadata: Mapping[str, Any], *, config_defaults: bool) -> Any:
    """Return the type of an option with the typer option that `option` made for it."""
    if not metadata:
        return hint
    typer_option = copy.copy(metadata["typer"])
    if config_defaults:
        typer_option.help = with_config_default(typer_option.help, metadata["default"])
    return Annotated[hint, typer_option]
