"""The draft of a run: the choices and options of the form, their errors, and the command that starts the same run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dipddpm.core import config as configs
from dipddpm.core.config import (
    DEFAULT_HYBRID,
    HYBRIDS,
    KINDS,
    PRESETS,
    TASKS,
    AnyRun,
    DipRun,
    Field,
    HybridRun,
    ImageRun,
    TaskOptions,
    methods_for,
)
from dipddpm.core.config.tasks import ESTIMATED
from dipddpm.core.errors import UserError, suggest

BASIC_OPTIONS = (
    "name",
    "prior.run",
    "ddpm.epochs",
    "dip.iterations",
    "data.dataset",
    "images.indices",
    "device",
    "seed",
    "task.",
    "hybrid.",
    "restore.",
)
"""The options, and tables of options, that most runs set; the form shows the others on request."""
PICTURE_OPTIONS = (
    "images.given",
    "task.mask",
    "task.factor",
    "task.kernel",
    "task.file",
    "task.width",
    "task.angle",
    "task.noise",
    "task.sigma",
    "picture.method",
    "picture.out",
    "images.truth",
    "device",
    "name",
)
"""The same for the restoration of a picture."""
FLAGS = {
    "prior.run": "--from",
    "ddpm.epochs": "--epochs",
    "dip.iterations": "--iterations",
    "data.dataset": "--dataset",
    "data.directory": "--data-dir",
    "images.indices": "--images",
    "device": "--device",
    "seed": "--seed",
    "name": "--name",
    "group": "--group",
}
PICTURE_FLAGS = {
    "task.mask": "--mask",
    "picture.method": "--method",
    "picture.out": "--out",
    "dip.iterations": "--iterations",
    **{key: FLAGS[key] for key in ("device", "seed", "name", "group")},
}
"""The same for the restoration of a picture."""
PATH_LISTS = {"images.files": "--image", "images.given": "--given", "images.truth": "--truth"}
"""Options that hold several paths, with the flag of each path."""
PATHS = (
    *PATH_LISTS,
    "task.mask",
    "task.file",
    "picture.out",
    "data.dataset",
    "data.directory",
    "prior.run",
    "restore.conditioned",
    "restore.earlier",
)
"""Options that hold paths."""
NOISE_LEVELS = {f"task.{option}" for option in TaskOptions.__struct_fields__ if option != "noise"}
"""Options that say something about the noise, which is then not estimated."""
LABELS = {
    "images.given": "file",
    "images.truth": "truth",
    "task.mask": "mask",
    "picture.method": "method",
    "picture.out": "out",
}
"""The command-line names of the options that restore a picture."""


class Draft:
    """The kind, preset, method and task of a run, and its options typed so far, as text by dotted key."""

    def __init__(self, kind: str = "hybrid") -> None:
        self.kind = kind
        self.preset = next(iter(PRESETS[kind]))
        self.method = self._preferred
        self.task = next(iter(TASKS))
        self.typed: dict[str, str] = {}

    @classmethod
    def from_config(cls, config: AnyRun) -> Draft:
        """Return the draft that yields exactly this config."""
        draft = cls(config.kind)
        if isinstance(config, HybridRun):
            draft.method = config.method
        if isinstance(config, DipRun | HybridRun | ImageRun):
            draft.task = str(type(config.task).__struct_config__.tag)
        values = configs.flatten(config)
        if values.get("images.given"):  # the noise of given pictures has other defaults
            draft.typed["images.given"] = as_text(values["images.given"])
        for field in draft.fields:
            is_estimated = field.key in NOISE_LEVELS and values["task.noise"] == "unknown"
            if not is_estimated and (text := as_text(values[field.key])) != draft.value(field):
                draft.typed[field.key] = text
        if isinstance(config, HybridRun) and "ddpm.epochs" in draft.typed:
            draft.typed["prior.run"] = config.prior.run
        return draft

    @classmethod
    def fork(cls, config: AnyRun) -> Draft:
        """Return the draft of a run like this one; without its group and, if it was in a group, its name."""
        draft = cls.from_config(config)
        if draft.typed.pop("group", None):
            draft.typed.pop("name", None)
        return draft

    @property
    def _preferred(self) -> str:
        """The default hybrid method of the preset."""
        return str(PRESETS[self.kind][self.preset].get("hybrid.method", DEFAULT_HYBRID))

    @property
    def methods(self) -> list[str]:
        """The methods to choose from; empty unless the kind is hybrid."""
        return list(HYBRIDS) if self.kind == "hybrid" else []

    @property
    def tasks(self) -> list[str]:
        """The tasks to choose from; empty for a kind that restores no images."""
        return list(TASKS) if any(field.key.startswith("images.") for field in configs.describe(self.kind)) else []

    @property
    def choices(self) -> dict[str, list[str]]:
        """The words that `choose` accepts for kind, method, preset and task."""
        presets = list(PRESETS[self.kind])
        kinds = sorted(KINDS, key=lambda kind: kind != "image")
        return {"kind": kinds, "method": self.methods, "preset": presets, "task": self.tasks}

    @property
    def fields(self) -> list[Field]:
        """All options of this kind, method and task, the basic ones first."""
        described = configs.describe(
            self.kind, self.method if self.methods else None, self.task if self.tasks else None
        )
        return sorted(described, key=lambda field: _rank(field.key, self._basic))

    @property
    def _basic(self) -> tuple[str, ...]:
        return PICTURE_OPTIONS if self.kind == "image" else BASIC_OPTIONS

    def is_basic(self, key: str) -> bool:
        """Return whether the form always shows the option."""
        return _rank(key, self._basic) < len(self._basic)

    def label(self, key: str) -> str:
        """Return what the form calls an option."""
        return LABELS.get(key, key) if self.kind == "image" else key

    def words(self, field: Field) -> Sequence[str]:
        """Return the values to choose from; empty for an option that is typed."""
        if field.key == "picture.method":
            return methods_for(self.task)
        return field.choices or (("true", "false") if field.type is bool else ())

    def choose(self, what: str, word: str) -> None:
        """Choose another kind, preset, method or task. Typed options stay; those that no longer exist are ignored."""
        setattr(self, what, word)
        if what == "kind" and self.preset not in PRESETS[word]:
            self.preset = next(iter(PRESETS[word]))
        if what in {"kind", "preset"}:
            self.method = self._preferred
        method = self.typed.get("picture.method") or PRESETS[self.kind][self.preset].get("picture.method", "auto")
        if method not in methods_for(self.task):
            self.typed["picture.method"] = "auto"

    def value(self, field: Field) -> str:
        """Return the option's value: as typed, else from the preset, else its default."""
        if field.key in self.typed:
            return self.typed[field.key]
        if field.key in NOISE_LEVELS and self.estimates_noise:
            return ""
        if field.key == "task.noise" and self._is_given:
            return "unknown" if self.estimates_noise else "gaussian"
        return as_text(PRESETS[self.kind][self.preset].get(field.key, field.default))

    @property
    def _is_given(self) -> bool:
        """True for pictures that are given damaged."""
        return self.kind == "image" or bool(self.typed.get("images.given", "").strip())

    @property
    def estimates_noise(self) -> bool:
        """True if nothing is said about the noise of a picture that is given damaged; its known pixels have none."""
        noise = self.typed.get("task.noise", "unknown")
        return self._is_given and self.task in ESTIMATED and noise == "unknown" and NOISE_LEVELS.isdisjoint(self.typed)

    def set_value(self, field: Field, text: str) -> None:
        """Set an option; its preset or default value counts as not set."""
        self.typed.pop(field.key, None)
        if text != self.value(field):
            self.typed[field.key] = text

    def set_values(self, settings: Mapping[str, str]) -> None:
        """Set options by key. Raises UserError for an option that this kind of run doesn't have."""
        remaining = dict(settings)
        if self.methods and "hybrid.method" in remaining:
            self.choose("method", remaining.pop("hybrid.method"))
        known = {field.key: field for field in self.fields}
        for key, text in remaining.items():
            if key not in known:
                raise UserError(f"{self.kind} has no option {key!r}.", suggest(key, known))
            self.set_value(known[key], text)

    def problem(self, key: str) -> str:
        """Return the error of this option as a sentence; empty if it is valid."""
        if key not in self.typed:
            return ""
        try:
            self._build({key: self.typed[key]})
        except UserError as error:
            return error.problem
        return ""

    def config(self) -> AnyRun:
        """Build the config. Raises UserError if it is invalid, and if a picture to restore is still to be named."""
        if self.kind == "image" and not self.typed.get("images.given", "").strip():
            raise UserError("Which picture is to be restored?", "Name its file.")
        known = {field.key for field in self.fields}
        return self._build({key: text for key, text in self.typed.items() if key in known})

    def command(self, *, now: bool = False, root: Path | None = None) -> str:
        """Return the command that starts the same run. Raises UserError if the config is invalid."""
        whole = configs.flatten(self.config())
        # Paths become absolute, so that the command works in any folder.
        typed = self.typed | {key: as_text(whole[key]) for key in PATHS if key in self.typed and key in whole}
        words = ["dipddpm", "run", self.kind]
        if self.kind == "image":
            words = ["dipddpm", "restore-image", *shlex.split(typed.pop("images.given"))]
            typed["picture.out"] = whole["picture.out"]
        if self.methods and self.method != self._preferred:
            words += ["--method", self.method]
        if self.preset != next(iter(PRESETS[self.kind])):
            words += ["--preset", self.preset]
        if self.tasks and (spec := self._task_spec(typed)):
            words += ["--task", spec]
        for field in self.fields:
            if field.key in typed and not self._is_in_spec(field.key, typed[field.key]):
                words += self._option(field.key, typed[field.key])
        words += ["--now"] * now + (["--runs-dir", str(root)] if root else [])
        return shlex.join(words)

    def _option(self, key: str, text: str) -> list[str]:
        """Return the command-line arguments that set this option."""
        if flag := PATH_LISTS.get(key):
            return [word for file in shlex.split(text) for word in (flag, file)]
        if key == "images.indices" and text.strip().isdecimal():
            text = f"{text.strip()}-{text.strip()}"  # for --images, a single number is a count
        # --from needs a run, and --epochs would make a hybrid train its prior: both need --set then.
        trains = key == "ddpm.epochs" and self.kind == "hybrid" and "prior.run" in self.typed
        flags = PICTURE_FLAGS if self.kind == "image" else FLAGS
        if key not in flags or trains or (key in {"prior.run", "picture.out"} and not text.strip()):
            return ["--set", f"{key}={text.strip()}"]
        return [flags[key], text]

    def _is_in_spec(self, key: str, text: str) -> bool:
        """Return whether --task holds this option; a mask may have a flag, or a path that --task can't hold."""
        has_flag = self.kind == "image" and key == "task.mask"
        is_unfit = key in {"task.mask", "task.file"} and "," in text and "=" in text
        return key.startswith("task.") and not has_flag and not is_unfit

    def _task_spec(self, typed: Mapping[str, str]) -> str:
        options = [f"{key[5:]}={text}" for key, text in typed.items() if self._is_in_spec(key, text)]
        if not options:
            is_default = self.task == next(iter(TASKS)) or (self.kind == "image" and "task.mask" in typed)
            return "" if is_default else self.task
        return f"{self.task}:{','.join(options)}"

    def _build(self, typed: dict[str, str]) -> AnyRun:
        settings = {key: text.strip() for key, text in typed.items()}
        epochs_without_prior = "ddpm.epochs" in settings and "prior.run" not in self.typed
        if epochs_without_prior and self.kind == "hybrid" and epochs_train_prior(self.method):
            settings["prior.run"] = ""  # the prior is trained, as in `dipddpm run`
        return configs.build(
            self.kind,
            method=self.method if self.methods else None,
            preset=self.preset,
            task=self.task if self.tasks else None,
            settings=settings,
        )


def epochs_train_prior(method: str) -> bool:
    """Return whether the epochs of this hybrid method train its prior, rather than the method's own network."""
    return method not in HYBRIDS or not HYBRIDS[method].learns


def as_text(value: Any) -> str:
    """Format a value as it would be typed."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}" if float(f"{value:.6g}") == value else repr(value)
    if isinstance(value, list | tuple):
        return " ".join(shlex.quote(str(part)) for part in value)
    return str(value)


def _rank(key: str, basic: Sequence[str]) -> int:
    """Return the index of an option, or of its table, among the basic ones; their number for any other option."""
    ranks = (rank for rank, name in enumerate(basic) if name in {key, key[: key.find(".") + 1]})
    return next(ranks, len(basic))
