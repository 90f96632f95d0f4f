"""The building block of a config: a strict, immutable struct whose fields carry their own help."""

from __future__ import annotations

import functools
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

import msgspec


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of config.toml. Unknown keys are refused; bounds and the help text stand in the annotations."""


Natural: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
NonNegative: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]
PositiveFloat: TypeAlias = Annotated[float, msgspec.Meta(gt=0)]
Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Precision: TypeAlias = Literal["float32", "bfloat16"]
CompileMode: TypeAlias = Literal["default", "reduce-overhead", "max-autotune"]


class Field(msgspec.Struct, frozen=True):
    """What a form or a help page needs to know of one option."""

    key: str
    """Dotted key as `--set` takes it: `ddpm.batch_size`."""
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
        """The allowed words of a `Literal`; empty for anything else."""
        args = get_args(self.type)
        return tuple(args) if args and all(isinstance(arg, str) for arg in args) else ()

    @property
    def words(self) -> tuple[str, ...]:
        """The words that may be written: `choices`, or those of each item of a list."""
        item = get_args(self.type)[0] if get_origin(self.type) is tuple else self.type
        return msgspec.structs.replace(self, type=item).choices


@functools.cache
def fields(section: type[Section], prefix: str = "") -> tuple[Field, ...]:
    """Every option of a section in its declared order, nested sections not included."""
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
    """The sections of a union by the word that chooses them in a config file."""
    return {str(section.__struct_config__.tag): section for section in get_args(union)}
