"""The measurement y = A x + noise that a restoration starts from, as people write it: `denoise:sigma=25`.

Noise levels are standard deviations in 8-bit grey levels: sigma=25 is 25/255 of the range of a [0, 1] image.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, TypeAlias

import msgspec

from core.config.complaints import complaint
from core.config.section import Section, fields
from core.errors import UserError, suggest


class TaskOptions(Section, tag_field="name", frozen=True):
    """What every task has: a name and a summary for the help page."""

    summary: ClassVar[str] = ""


class Denoise(TaskOptions, tag="denoise", frozen=True):
    """y = x + n with n Gaussian, never clipped."""

    summary: ClassVar[str] = "additive Gaussian noise"

    sigma: Annotated[
        float, msgspec.Meta(ge=0, le=255, description="standard deviation of the noise, in 8-bit grey levels")
    ] = 25.0


Task: TypeAlias = Denoise
TASKS: dict[str, type[TaskOptions]] = {"denoise": Denoise}


def parse_task(text: str) -> Task:
    """Read `name:option=value,option=value`; the options left out keep their defaults.

    Raises UserError for an unknown task or option and for a value out of bounds.
    """
    name, _, rest = text.strip().partition(":")
    if name not in TASKS:
        raise UserError(f"There is no task named {name!r}.", suggest(name, TASKS))
    known = {field.encode_name for field in msgspec.structs.fields(TASKS[name])}
    values: dict[str, Any] = {"name": name}
    for part in filter(None, (p.strip() for p in rest.split(","))):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not equals:
            raise UserError(f"The task option {part!r} has no value.", f"Write it as {key}=VALUE.")
        if key not in known:
            raise UserError(f"The task {name} has no option {key!r}.", suggest(key, known))
        values[key] = value
    try:
        return msgspec.convert(values, Task, strict=False)
    except msgspec.ValidationError as error:
        raise complaint(error, fields(TASKS[name])) from None


def format_task(task: TaskOptions) -> str:
    """The inverse of `parse_task`, with every option written out."""
    values = msgspec.to_builtins(task)
    name = values.pop("name")
    options = ",".join(f"{key}={_plain(value)}" for key, value in values.items())
    return f"{name}:{options}" if options else str(name)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
