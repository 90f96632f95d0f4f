"""The measurement y = A x + noise that a restoration starts from, as people write it: `inpaint:missing=0.7,sigma=10`.

Noise levels are standard deviations in 8-bit grey levels: sigma=25 is 25/255 of the range of a [0, 1] image.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias, cast

import msgspec
from msgspec import Meta

from dipddpm.core.config.base import Natural, PositiveFloat, Section, Share, by_tag, convert, fields
from dipddpm.core.errors import UserError, suggest

NoiseKind: TypeAlias = Literal["gaussian", "poisson", "salt-and-pepper"]
Sigma: TypeAlias = Annotated[float, Meta(ge=0, le=255), "standard deviation of Gaussian noise, in 8-bit grey levels"]
_NOISE_OPTIONS = {"gaussian": "sigma", "poisson": "peak", "salt-and-pepper": "hit"}


class TaskOptions(Section, tag_field="name", frozen=True):
    """What every task has: a summary for the help page, and noise on what is measured."""

    summary: ClassVar[str] = ""

    noise: Annotated[NoiseKind, "kind of noise; sigma, peak or hit says how much of it"] = "gaussian"
    sigma: Sigma = 0.0
    peak: Annotated[PositiveFloat, "photons that a white pixel counts on average (Poisson)"] = 30.0
    hit: Annotated[float, Meta(ge=0, le=1), "share of the values that become black or white (salt-and-pepper)"] = 0.1
    blind: Annotated[bool, "don't tell the methods how much noise there is, only of which kind"] = False

    def unused_options(self) -> set[str]:
        """The options that play no part, because another one says so."""
        unused = {option for kind, option in _NOISE_OPTIONS.items() if kind != self.noise}
        return unused if self.blind else unused | {"blind"}

    def has_noise_level(self) -> bool:
        """Whether methods are told the mean square of the noise, and it is not nothing."""
        return not self.blind and (self.noise == "poisson" or (self.noise == "gaussian" and self.sigma > 0))


class Denoise(TaskOptions, tag="denoise", frozen=True):
    """y = x + n. Gaussian noise is never clipped."""

    summary: ClassVar[str] = "noise on every pixel"

    sigma: Sigma = 25.0


class Inpaint(TaskOptions, tag="inpaint", frozen=True):
    """y is x at some pixels and nothing at the others; all channels of a pixel go together."""

    summary: ClassVar[str] = "pixels are missing: a random share, a box, or what a mask file says"

    missing: Annotated[Share, "share of the pixels that is missing, at random"] = 0.5
    box: Annotated[Natural, "side of a missing square in the middle, in pixels, instead; 0: none"] = 0
    mask: Annotated[str, "image file instead, as large as the image: black is missing, white is kept"] = ""

    def unused_options(self) -> set[str]:
        """A mask file beats a box, and a box beats a random share."""
        others = {"missing", "box"} if self.mask else {"missing", "mask"} if self.box else {"box", "mask"}
        return super().unused_options() | others


class Superres(TaskOptions, tag="superres", frozen=True):
    """y is the mean over blocks of factor x factor pixels; blocks at the far edges are smaller where it doesn't fit."""

    summary: ClassVar[str] = "the image at a half or a quarter of its size"

    factor: Annotated[Literal[2, 4], "pixels of a block, along each side"] = 2


class Deblur(TaskOptions, tag="deblur", frozen=True):
    """y is x convolved with a kernel of sum 1, with circular boundary."""

    summary: ClassVar[str] = "a Gaussian or a motion blur"

    kernel: Annotated[Literal["gaussian", "motion"], "shape of the blur"] = "gaussian"
    width: Annotated[
        PositiveFloat, Meta(le=100), "standard deviation of the Gaussian, or length of the motion, in pixels"
    ] = 1.5
    angle: Annotated[float, Meta(ge=-360, le=360), "direction of the motion, in degrees from the x axis"] = 0.0

    def unused_options(self) -> set[str]:
        """A Gaussian has no direction."""
        return super().unused_options() | ({"angle"} if self.kernel == "gaussian" else set())


Task: TypeAlias = Denoise | Inpaint | Superres | Deblur
TASKS: dict[str, type[TaskOptions]] = by_tag(Task)


class RestorerOptions(Section, frozen=True):
    """Options of something that restores images; it says which tasks and which kinds of noise it can take."""

    tasks: ClassVar[frozenset[str]] = frozenset(TASKS)
    noises: ClassVar[frozenset[str]] = frozenset(_NOISE_OPTIONS)

    @classmethod
    def supports(cls, task: TaskOptions) -> bool:
        """Whether it can be asked to do this task; a table says n/a where not."""
        return task.__struct_config__.tag in cls.tasks and task.noise in cls.noises


def parse_task(text: str) -> Task:
    """Read `name:option=value,option=value`. Raises UserError for an unknown name and a value out of bounds."""
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
    return cast(Task, convert(values, Task, fields(TASKS[name]), strict=False))


def format_task(task: TaskOptions) -> str:
    """The inverse of `parse_task`: every option that plays a part, `noise=gaussian` left out.

    A mask file whose name holds a comma can't be written so; in config.toml it can.
    """
    values = msgspec.to_builtins(task)
    name = values.pop("name")
    if task.noise == "gaussian":
        del values["noise"]
    # What is special to a task stands before its noise.
    order = sorted(values.items(), key=lambda item: item[0] in TaskOptions.__struct_fields__)
    options = ",".join(f"{key}={_plain(value)}" for key, value in order if key not in task.unused_options())
    return f"{name}:{options}" if options else str(name)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).removesuffix(".0")
