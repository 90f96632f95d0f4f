"""The base class of config sections, whose fields carry their own help text, and the conversion of values into them."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

import msgspec

from dipddpm.core.errors import UserError, suggest

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}
_REMEDY = "Compare it with a complete config, as --dry-run prints it."
_MAX_SIZE = 1e30
"""Largest size of a number; float32, in which the networks compute, ends at 3.4e38."""
_MAX_SHOWN = 40
"""Number of letters of a wrong value that a message repeats."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of config.toml. Unknown keys are refused; each annotation holds the option's bounds and help text."""


Natural: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
NonNegative: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]
PositiveFloat: TypeAlias = Annotated[float, msgspec.Meta(gt=0)]
GreyLevels: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=100_000)]
"""A noise level in 8-bit grey levels."""
Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Precision: TypeAlias = Literal["float32", "bfloat16"]
Indices: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^\d+(-\d+)?(,\d+(-\d+)?)*\Z")]
CompileMode: TypeAlias = Literal["default", "reduce-overhead", "max-autotune"]


class Field(msgspec.Struct, frozen=True):
    """The description of one option for forms and help pages."""

    key: str
    """The dotted key that `--set` takes, such as `ddpm.batch_size`."""
    type: Any
    """The type without its metadata: `int`, `float`, `str`, `bool`, a `Literal` or a tuple type."""
    default: Any
    description: str
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed words of a `Literal`; empty for other types."""
        args = get_args(self.type)
        return tuple(args) if args and all(isinstance(arg, str) for arg in args) else ()

    @property
    def words(self) -> tuple[str, ...]:
        """The values of a `Literal`, or of a list of them, as a user writes them; empty for other types."""
        item = get_args(self.type)[0] if get_origin(self.type) is tuple else self.type
        return tuple(map(str, get_args(item))) if get_origin(item) is Literal else ()

    @property
    def allowed(self) -> str:
        """The values of an option that isn't a choice of words, such as `a number from 0 to 255`."""
        text = _KINDS["array" if get_origin(self.type) is tuple else self.type.__name__]
        if self.ge is not None and self.le is not None:
            return f"{text} from {self.ge:,} to {self.le:,}"
        low = "" if self.ge is None else f"at least {self.ge:,}"
        low = low if self.gt is None else f"above {self.gt:,}"
        high = "" if self.le is None else f"at most {self.le:,}"
        high = high if self.lt is None else f"below {self.lt:,}"
        both = " and ".join(filter(None, (low, high)))
        return f"{text} {'of ' if both.startswith('at') else ''}{both}".rstrip()

    @property
    def remedy(self) -> str:
        """A sentence that says what the option is, with its default as an example."""
        if not self.description:
            return _REMEDY
        if isinstance(self.default, bool):
            return f"Give true or false: {self.description}."
        example = f" such as {self.default:.12g}" if isinstance(self.default, int | float) else ""
        return f"Give a value{example}: {self.description}."


@functools.cache
def fields(section: type[Section], prefix: str = "") -> tuple[Field, ...]:
    """Return every option of a section in its declared order, without nested sections."""
    hints = get_type_hints(section, include_extras=True)
    options = []
    for field in msgspec.structs.fields(section):
        hint = hints[field.name]
        bare, *annotations = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        if all(isinstance(member, type) and issubclass(member, Section) for member in get_args(bare) or (bare,)):
            continue
        default = field.default if field.default is not msgspec.NODEFAULT else None
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        description = next((text for text in annotations if isinstance(text, str)), "")
        bounds = {
            name: value
            for annotation in annotations
            for name in ("ge", "gt", "le", "lt")
            if (value := getattr(annotation, name, None)) is not None
        }
        options.append(Field(prefix + field.encode_name, bare, default, description, **bounds))
    return tuple(options)


def by_tag(union: Any) -> dict[str, type[Any]]:
    """Return the sections of a union, each by the tag that selects it in a config file."""
    return {str(section.__struct_config__.tag): section for section in get_args(union)}


def convert(values: Any, kind: Any, known: Iterable[Field], *, strict: bool = True) -> Any:
    """Convert builtin values to a struct; `known` are the options that an error message may name.

    Unless `strict`, text is parsed as the option's type. Raises UserError for a value of the wrong type or out of
    bounds, an unknown name, a number that is not finite or too large, and text that can't be encoded in UTF-8.
    """
    options = {field.key: field for field in known}
    try:
        struct = msgspec.convert(values, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise _complaint(error, options, values) from None
    for key, value in _leaves(msgspec.to_builtins(struct)):
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{key} must be a finite number.", options[key].remedy if key in options else _REMEDY)
        if isinstance(value, float) and abs(value) > _MAX_SIZE:
            problem = f"{key} must be a number up to {_MAX_SIZE:g}, not {value:g}."
            raise UserError(problem, options[key].remedy if key in options else _REMEDY)
        if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
            raise UserError(f"{key} holds bytes that are not text.", "Write it in UTF-8.")
    return struct


def _complaint(error: msgspec.ValidationError, known: Mapping[str, Field], values: Any) -> UserError:
    text, _, path = str(error).partition(" - at `$")
    key = re.sub(r"\[(\d+|\.\.\.)\]$", "", path.rstrip("`").removeprefix("."))  # an item of a list
    field = known.get(key)
    if unknown := re.match(r"Object contains unknown field `(.*)`", text):
        name = f"{key}.{unknown[1]}" if key else unknown[1]
        return UserError(f"There is no option {name!r}.", suggest(name, known))
    if field is None:
        return _contradiction(text, key, known, values)
    choice = re.match(r"Invalid enum value '?(.*?)'?$", text)
    given = choice[1] if choice else _value(values, key)
    shown = "" if given is None or isinstance(given, dict | list | tuple) else _shortened(given)
    if field.words:
        remedy = suggest(str(given), field.words)
        choices = ", ".join(field.words)
        is_near = remedy.startswith("Did")
        remedy += f" The choices are {choices}." if is_near else ""
        return UserError(f"{key} can't be {shown!r}.", remedy if is_near else f"Choose one of: {choices}.")
    problem, remedy = f"{key} must be {field.allowed}", f"Give a value of this form: {field.description}."
    if "matching regex" in text:
        return UserError(f"{key} can't be {shown!r}.", remedy)
    if length := re.match(r"Expected `str` of length <= (\d+)", text):
        problem = f"{key} must have at most {length[1]} letters"
    elif "`str` of length" in text:
        problem = f"{key} must not be empty"
    else:
        remedy = field.remedy
    return UserError(f"{problem}, not {shown!r}." if shown else f"{problem}.", remedy)


def _contradiction(text: str, key: str, known: Mapping[str, Field], values: Any) -> UserError:
    """Return the error for a section whose values don't agree with each other; `text` names the options."""
    if choice := re.match(r"Invalid enum value '?(.*?)'?$", text):
        return UserError(f"{key} can't be {choice[1]!r}.", _REMEDY)
    expected = re.match(r"Expected `(\w+)", text)
    if expected and expected[1] in _KINDS:
        return UserError(f"{key or 'The config'} must be {_KINDS[expected[1]]}.", _REMEDY)
    prefix = f"{key}." if key else ""
    words = dict.fromkeys(word.strip(".") for word in re.findall(r"[\w.]+", text))
    named = [name for word in words if (name := word if "." in word else prefix + word) in known]
    current = [
        f"{name} ({_shortened(known[name].default if (value := _value(values, name)) is None else value)})"
        for name in named
    ]
    remedy = f"Change {' or '.join(current)}." if current else _REMEDY
    return UserError(f"{key + ': ' if key else ''}{text}.", remedy)


def _value(values: Any, key: str) -> Any:
    """Return the value at a dotted key of nested tables; None if there is none."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _shortened(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def _leaves(values: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value that is neither a table nor a list, with its dotted key."""
    if isinstance(values, dict):
        for name, value in values.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _leaves(value, key)
    else:
        yield key, values
