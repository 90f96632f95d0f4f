"""A run that is being thought up: what the form holds, what is wrong with it, and the command that does the same."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dipddpm.core import config as configs
from dipddpm.core.config import DEFAULT_HYBRID, HYBRIDS, KINDS, PRESETS, TASKS, AnyRun, DipRun, Field, HybridRun
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
"""The options, and tables of options, that nearly every run is given; the rest are shown on request."""
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
"""Options that the command line knows by a name of their own; all others are given with --set."""


class Draft:
    """Kind, preset, method and task, and under them what was typed, as text by dotted key."""

    def __init__(self, kind: str = "hybrid") -> None:
        self.kind = kind
        self.preset = next(iter(PRESETS[kind]))
        self.method = self._preferred
        self.task = next(iter(TASKS))
        self.typed: dict[str, str] = {}

    @classmethod
    def from_config(cls, config: AnyRun) -> Draft:
        """The draft that leads to this very config."""
        draft = cls(config.kind)
        if isinstance(config, HybridRun):
            draft.method = config.method
        if isinstance(config, DipRun | HybridRun):
            draft.task = str(type(config.task).__struct_config__.tag)
        values = configs.flatten(config)
        for field in draft.fields:
            text = as_text(values[field.key])
            if text != as_text(field.default):
                draft.typed[field.key] = text
        if isinstance(config, HybridRun) and "ddpm.epochs" in draft.typed:
            draft.typed["prior.run"] = config.prior.run
        return draft

    @classmethod
    def fork(cls, config: AnyRun) -> Draft:
        """The draft of a run like this one. It is of no group, nor called what it is called there: it will differ."""
        draft = cls.from_config(config)
        if draft.typed.pop("group", None):
            draft.typed.pop("name", None)
        return draft

    @property
    def _preferred(self) -> str:
        """The hybrid method that one gets without asking."""
        return str(PRESETS[self.kind][self.preset].get("hybrid.method", DEFAULT_HYBRID))

    @property
    def methods(self) -> list[str]:
        """The methods to choose from; none for a kind without."""
        return list(HYBRIDS) if self.kind == "hybrid" else []

    @property
    def tasks(self) -> list[str]:
        """The tasks to choose from; none for a kind that restores nothing."""
        return list(TASKS) if any(field.key.startswith("images.") for field in configs.describe(self.kind)) else []

    @property
    def choices(self) -> dict[str, list[str]]:
        """The words that `choose` takes for each of kind, method, preset and task."""
        presets = list(PRESETS[self.kind])
        return {"kind": list(KINDS), "method": self.methods, "preset": presets, "task": self.tasks}

    @property
    def fields(self) -> list[Field]:
        """Every option of a run like this, the first ones first."""
        described = configs.describe(
            self.kind, self.method if self.methods else None, self.task if self.tasks else None
        )
        return sorted(described, key=lambda field: _rank(field.key))

    def is_basic(self, key: str) -> bool:
        """Whether the option is shown without being asked for."""
        return _rank(key) < len(BASIC_OPTIONS)

    def choose(self, what: str, word: str) -> None:
        """Choose another kind, preset, method or task. What was typed stays, where the new choice knows it."""
        setattr(self, what, word)
        if what == "kind" and self.preset not in PRESETS[word]:
            self.preset = next(iter(PRESETS[word]))
        if what in {"kind", "preset"}:
            self.method = self._preferred

    def value(self, field: Field) -> str:
        """What the option stands at: as typed, else as the preset has it, else its default."""
        if field.key in self.typed:
            return self.typed[field.key]
        return as_text(PRESETS[self.kind][self.preset].get(field.key, field.default))

    def set_value(self, field: Field, text: str) -> None:
        """Give the option this value; an option put back to where it stood counts as not given."""
        self.typed.pop(field.key, None)
        if text != self.value(field):
            self.typed[field.key] = text

    def set_values(self, settings: Mapping[str, str]) -> None:
        """Give options other values, by key. Raises UserError for one that a run like this doesn't have."""
        rest = dict(settings)
        if self.methods and "hybrid.method" in rest:
            self.choose("method", rest.pop("hybrid.method"))
        known = {field.key: field for field in self.fields}
        for key, text in rest.items():
            if key not in known:
                raise UserError(f"{self.kind} has no option {key!r}.", suggest(key, known))
            self.set_value(known[key], text)

    def problem(self, key: str) -> str:
        """What is wrong with this one option, in words; empty where nothing is."""
        if key not in self.typed:
            return ""
        try:
            self._build({key: self.typed[key]})
        except UserError as error:
            return error.problem
        return ""

    def config(self) -> AnyRun:
        """The config. Raises UserError for what is wrong with it."""
        known = {field.key for field in self.fields}
        return self._build({key: text for key, text in self.typed.items() if key in known})

    def command(self, *, now: bool = False, root: Path | None = None) -> str:
        """The `dipddpm run` line that starts the same run. Raises UserError as `config` does."""
        self.config()
        words = ["dipddpm", "run", self.kind]
        if self.methods and self.method != self._preferred:
            words += ["--method", self.method]
        if PRESETS[self.kind][self.preset]:
            words += ["--preset", self.preset]
        if self.tasks and (spec := self._task_spec()):
            words += ["--task", spec]
        for field in self.fields:
            if field.key in self.typed and not field.key.startswith("task."):
                words += self._option(field.key, self.typed[field.key])
        words += ["--now"] * now + (["--runs-dir", str(root)] if root else [])
        return shlex.join(words)

    def _option(self, key: str, text: str) -> list[str]:
        """The words of the command line that give this option its value."""
        if key == "images.files":
            return [word for file in shlex.split(text) for word in ("--image", file)]
        if key == "images.indices" and text.strip().isdecimal():
            text = f"{text.strip()}-{text.strip()}"  # a plain number is a count there
        # Without a prior, and where --epochs would ask a hybrid for a training, the flag would mean something else.
        trains = key == "ddpm.epochs" and self.kind == "hybrid" and "prior.run" in self.typed
        if key not in FLAGS or trains or (key == "prior.run" and not text.strip()):
            return ["--set", f"{key}={text.strip()}"]
        return [FLAGS[key], text]

    def _task_spec(self) -> str:
        options = [f"{key[5:]}={text}" for key, text in self.typed.items() if key.startswith("task.")]
        if not options:
            return "" if self.task == next(iter(TASKS)) else self.task
        return f"{self.task}:{','.join(options)}"

    def _build(self, typed: dict[str, str]) -> AnyRun:
        settings = {key: text.strip() for key, text in typed.items()}
        epochs_without_prior = "ddpm.epochs" in settings and "prior.run" not in self.typed
        if epochs_without_prior and self.kind == "hybrid" and epochs_train_prior(self.method):
            settings["prior.run"] = ""  # to be trained, as `dipddpm run` has it
        return configs.build(
            self.kind,
            method=self.method if self.methods else None,
            preset=self.preset,
            task=self.task if self.tasks else None,
            settings=settings,
        )


def epochs_train_prior(method: str) -> bool:
    """Whether epochs given for this hybrid method train its prior; otherwise they train the method's own network."""
    return method not in HYBRIDS or not HYBRIDS[method].learns


def as_text(value: Any) -> str:
    """A value as it is typed."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}" if float(f"{value:.6g}") == value else repr(value)
    if isinstance(value, list | tuple):
        return " ".join(shlex.quote(str(part)) for part in value)
    return str(value)


def _rank(key: str) -> int:
    """The place of an option among the basic ones, or of its table; after them for any other."""
    ranks = (rank for rank, name in enumerate(BASIC_OPTIONS) if name in {key, key[: key.find(".") + 1]})
    return next(ranks, len(BASIC_OPTIONS))
