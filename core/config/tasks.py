"""The degradations y = A x + noise, and the text form that users write: `inpaint:missing=0.7,sigma=10`.

Noise levels are standard deviations in 8-bit grey levels: sigma=25 is 25/255 of the range of a [0, 1] image.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, cast

import msgspec
from msgspec import Meta

from dipddpm.core.config.base import Natural, PositiveFloat, Section, Share, by_tag, convert, fields
from dipddpm.core.errors import UserError, suggest

NoiseKind: TypeAlias = Literal["gaussian", "poisson", "poisson-gaussian", "salt-and-pepper", "unknown"]
Sigma: TypeAlias = Annotated[float, Meta(ge=0, le=255), "standard deviation of Gaussian noise, in 8-bit grey levels"]
RENAMED = {"peak": "photons"}
"""Former names of task options, which older runs hold in their config.toml."""
_NOISE_OPTIONS: dict[str, frozenset[str]] = {
    "gaussian": frozenset({"sigma"}),
    "poisson": frozenset({"photons"}),
    "poisson-gaussian": frozenset({"photons", "sigma"}),
    "salt-and-pepper": frozenset({"hit"}),
    "unknown": frozenset(),
}


class TaskOptions(Section, tag_field="name", frozen=True):
    """The options that every task has: the noise on the measurements; and a summary for the help page."""

    summary: ClassVar[str] = ""
    file_option: ClassVar[str] = ""
    """The option that holds the path of a file; empty if there is none."""

    noise: Annotated[
        NoiseKind, "kind of noise; sigma, photons or hit sets its strength, and an unknown one is estimated"
    ] = "gaussian"
    sigma: Sigma = 0.0
    photons: Annotated[PositiveFloat, "mean photon count of a white pixel (poisson, poisson-gaussian)"] = 30.0
    hit: Annotated[float, Meta(ge=0, le=1), "share of the values that become black or white (salt-and-pepper)"] = 0.1
    blind: Annotated[bool, "whether to hide the noise level, but not the kind of noise, from the methods"] = False

    def unused_options(self) -> set[str]:
        """Return the options that have no effect, given the values of the others."""
        unused = frozenset().union(*_NOISE_OPTIONS.values()) - _NOISE_OPTIONS[self.noise]
        return {*unused} if self.blind and self.noise != "unknown" else {*unused, "blind"}

    @property
    def enlargement(self) -> int:
        """How many times as high and as wide as its measurements an image is."""
        return 1

    def has_noise_level(self) -> bool:
        """Return whether the methods know the mean square of the noise, and it is positive."""
        if self.blind or self.noise in {"salt-and-pepper", "unknown"}:
            return False
        return self.noise != "gaussian" or self.sigma > 0

    def file_path(self) -> str:
        """Return the path of the file that the task reads; empty if it reads none."""
        return "" if self.file_option in {"", *self.unused_options()} else getattr(self, self.file_option)


class Denoise(TaskOptions, tag="denoise", frozen=True):
    """Denoising: y = x + n. Gaussian noise is never clipped."""

    summary: ClassVar[str] = "noise on every pixel"

    sigma: Sigma = 25.0


class Inpaint(TaskOptions, tag="inpaint", frozen=True):
    """Inpainting: y equals x at some pixels; the others are missing in all channels."""

    summary: ClassVar[str] = "missing pixels: a random share, a box, or the black pixels of a mask file"
    file_option: ClassVar[str] = "mask"

    missing: Annotated[Share, "share of the pixels that are missing, at random"] = 0.5
    box: Annotated[Natural, "side in pixels of a missing square in the middle, in place of missing; 0: none"] = 0
    mask: Annotated[str, "mask file of the image's size, in place of missing: black is missing, white is known"] = ""

    def unused_options(self) -> set[str]:
        """Return the options that have no effect: a mask file overrides a box, and a box overrides a random share."""
        others = {"missing", "box"} if self.mask else {"missing", "mask"} if self.box else {"box", "mask"}
        return super().unused_options() | others


class Superres(TaskOptions, tag="superres", frozen=True):
    """Super-resolution: y holds the means of blocks of factor x factor pixels; blocks at far edges may be smaller."""

    summary: ClassVar[str] = "the image at a half, a third, a quarter or an eighth of its size"

    factor: Annotated[Literal[2, 3, 4, 8], "side of a block in pixels"] = 2

    @property
    def enlargement(self) -> int:
        """The factor."""
        return self.factor


class Deblur(TaskOptions, tag="deblur", frozen=True):
    """Deblurring: y is x convolved with a kernel of sum 1, with circular boundary."""

    summary: ClassVar[str] = "a Gaussian blur, a motion blur, or the kernel in a file"
    file_option: ClassVar[str] = "file"

    kernel: Annotated[Literal["gaussian", "motion", "file"], "shape of the blur"] = "gaussian"
    file: Annotated[str, "file of the kernel, a grey image or a .npy file with odd sides, scaled to a sum of 1"] = ""
    width: Annotated[
        PositiveFloat, Meta(le=100), "standard deviation of the Gaussian, or length of the motion, in pixels"
    ] = 1.5
    angle: Annotated[float, Meta(ge=-360, le=360), "direction of the motion, in degrees from the x axis"] = 0.0

    def unused_options(self) -> set[str]:
        """Return the options that have no effect; only a motion has an `angle`, and only a file has no `width`."""
        others = {"gaussian": {"angle", "file"}, "motion": {"file"}, "file": {"width", "angle"}}
        return super().unused_options() | others[self.kernel]


Task: TypeAlias = Denoise | Inpaint | Superres | Deblur
TASKS: dict[str, type[TaskOptions]] = by_tag(Task)
ESTIMATED = ("denoise", "deblur")
"""The tasks of given pictures whose noise is estimated unless it is named; in the others, known pixels are exact."""


class RestorerOptions(Section, frozen=True):
    """The options of a restoration method, with the tasks and the kinds of noise that it supports."""

    tasks: ClassVar[frozenset[str]] = frozenset(TASKS)
    noises: ClassVar[frozenset[str]] = frozenset(_NOISE_OPTIONS)

    @classmethod
    def supports(cls, task: TaskOptions) -> bool:
        """Return whether the method supports this task; result tables show n/a if not."""
        return task.__struct_config__.tag in cls.tasks and task.noise in {*cls.noises, "unknown"}


def parse_task(text: str, *, given: bool = False) -> Task:
    """Parse `name:option=value,option=value`.

    The noise of a picture that is `given` damaged is unknown unless the text says something about it; only the pixels
    of `inpaint` and `superres` are taken as exact. Raises UserError for an unknown name and for a value out of bounds.
    """
    name, _, options = text.strip().partition(":")
    if name not in TASKS:
        word = re.match(r"[a-z]*", name)
        remedy = suggest(name, TASKS)
        if word and word[0] in TASKS:
            remedy = f"Write its options after a colon, with commas between them: {word[0]}:NAME=VALUE,NAME=VALUE."
        raise UserError(f"There is no task named {name!r}.", remedy)
    known = {field.encode_name for field in msgspec.structs.fields(TASKS[name])}
    values: dict[str, Any] = {"name": name}
    last = ""
    for raw in options.split(","):
        if not (part := raw.strip()):
            continue
        if last and last == TASKS[name].file_option and "=" not in part and part not in known:
            values[last] += f",{raw}"  # the comma belongs to the path
            continue
        key, equals, value = (word.strip() for word in part.partition("="))
        if not equals or (key == TASKS[name].file_option and not value):
            remedy = f"Write it as {key}=VALUE." if key in known else f"Write NAME=VALUE, with {_choices(name)}."
            raise UserError(f"The task option {part!r} has no value.", remedy)
        key = RENAMED.get(key, key)
        if key not in known:
            near = suggest(key, known)
            remedy = near if near.startswith("Did") else f"It has {_choices(name)}."
            raise UserError(f"The task {name} has no option {key!r}.", remedy)
        values[key], last = value, key
    if given and name in ESTIMATED and not values.keys() & {field.key for field in fields(TaskOptions)}:
        values["noise"] = "unknown"
    return cast(Task, convert(values, Task, fields(TASKS[name]), strict=False))


def _choices(name: str) -> str:
    """Return the options of a task in words."""
    *most, last = (field.key for field in fields(TASKS[name]))
    return f"{', '.join(most)} or {last}"


def format_task(task: TaskOptions) -> str:
    """Write a task as text that `parse_task` reads, with every option that has an effect except `noise=gaussian`.

    This text can't hold a file whose path has a comma and, after it, an equals sign; config.toml can.
    """
    values = msgspec.to_builtins(task)
    name = values.pop("name")
    if task.noise == "gaussian":
        del values["noise"]
    # The task's own options come before the options of its noise.
    order = sorted(values.items(), key=lambda item: item[0] in TaskOptions.__struct_fields__)
    options = ",".join(f"{key}={_format_value(value)}" for key, value in order if key not in task.unused_options())
    return f"{name}:{options}" if options else str(name)


def _format_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).removesuffix(".0")
