"""Shell completion of runs, kinds, methods, presets, tasks, data sets, devices and the keys of `--set`.

This module loads no torch. typer drops words that don't begin with the typed text. zsh evaluates completions, so that
text from files is offered only if it is safe in a shell: run ids and group names are matched against a pattern, and
explanations are stripped of special characters.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import TypeAlias, get_args

import typer

from dipddpm.core import config as configs
from dipddpm.core.compute.devices import gpu_count
from dipddpm.core.config import HYBRIDS, PICTURE_METHODS, PRESETS
from dipddpm.core.config.base import Field, fields
from dipddpm.core.config.study import SetName
from dipddpm.core.config.tasks import TASKS
from dipddpm.core.data.catalogue import CATALOGUE
from dipddpm.core.errors import UserError
from dipddpm.core.export import FORMATS
from dipddpm.core.launch.local import runs_root
from dipddpm.core.launch.submit import HERE, OPTIONS
from dipddpm.core.runs import Run, RunsFolder
from dipddpm.core.runs.creation import RUN_ID
from dipddpm.tui.shared.draft import as_text

Completions: TypeAlias = Iterator[tuple[str, str]]
COMPLETION_VARIABLE = "_DIPDDPM_COMPLETE"
MAX_RUNS = 30
"""The number of runs that are offered; a longer prefix of an id offers older ones."""
KINDS = ("dip", "ddpm", "hybrid", "acceleration", "map")
KIND_OF_COMMAND = {"restore": "restore", "restore-image": "image", "reproduce": "study"}
"""The commands that make runs of one kind only."""
_WORD = re.compile(r"[\w.,:=+-]+")
"""A word that means nothing special to any shell."""
_UNSAFE = re.compile(r"[^\w ,.;:=+%/()’-]")


def runs(ctx: typer.Context, incomplete: str) -> Completions:
    """Yield the ids of runs, newest first, then the words that stand for a run."""
    matching = (run for run in _runs(ctx) if run.id.startswith(incomplete) and RUN_ID.fullmatch(run.id))
    for run in itertools.islice(matching, MAX_RUNS):
        status = run.status()
        yield run.id, shell_safe(f"{status.summary.method} {status.state} {status.summary.name}")
    yield from (
        ("last", "the newest run"),
        ("reference", "the trained prior that ships"),
        ("leaves", "the prior for any picture"),
    )


def groups(ctx: typer.Context) -> Completions:
    """Yield the names of groups, the one with the newest run first; a name that isn't safe in a shell is left out."""
    counts = Counter(run.status().summary.group for run in _runs(ctx))
    return ((name, f"{count} runs") for name, count in counts.items() if _WORD.fullmatch(name))


def _runs(ctx: typer.Context) -> list[Run]:
    return RunsFolder(runs_root(ctx.params.get("runs_dir"))).runs()


def clusters(incomplete: str) -> Completions:
    """Yield the words that `--on` begins with, and after `slurm:` the options of a job."""
    if not incomplete.startswith("slurm:"):
        yield from (("slurm:", "a job of this Slurm cluster"), (HERE, "this machine, to resume"))
        return
    before = incomplete[: incomplete.rfind(",") + 1 or len("slurm:")]
    for key, (_, example) in OPTIONS.items():
        yield f"{before}{key}=", shell_safe(f"for example {key}={example}")


def kinds() -> Iterable[str]:
    """Return the kinds of runs that `run` and `sweep` make."""
    return KINDS


def methods() -> Completions:
    """Yield the hybrid methods with their summaries."""
    return ((name, shell_safe(options.summary)) for name, options in HYBRIDS.items())


def picture_methods() -> Completions:
    """Yield the methods that restore a picture, with their summaries."""
    yield "auto", "the one that best predicts held-out measurements"
    yield from ((name, shell_safe(facts.summary)) for name, facts in PICTURE_METHODS.items())


def presets(ctx: typer.Context) -> Iterable[str]:
    """Yield the presets of the kind of run on the command line."""
    return (preset for kind in _kinds_of(ctx) for preset in PRESETS[kind])


def datasets() -> Completions:
    """Yield the names of data sets, and the prefix of a folder's path."""
    yield from ((name, shell_safe(dataset.title)) for name, dataset in CATALOGUE.items())
    yield "folder:", "images of your own"


def sets() -> Iterable[str]:
    """Return the sets of images that `restore` accepts."""
    return get_args(SetName)


def formats() -> Completions:
    """Yield the export formats."""
    return ((name, shell_safe(each.words)) for name, each in FORMATS.items())


def devices() -> Iterable[str]:
    """Return the devices of this machine."""
    return ("auto", "cpu", *(f"cuda:{n}" for n in range(gpu_count())))


def tasks(incomplete: str) -> Completions:
    """Yield the names of tasks, and after a colon their options."""
    name, colon, options = incomplete.partition(":")
    if not colon:
        yield from ((task, shell_safe(options.summary)) for task, options in TASKS.items())
    elif name in TASKS:
        before, comma, last = options.rpartition(",")
        given = {part.partition("=")[0] for part in before.split(",")}
        known = [field for field in fields(TASKS[name]) if field.key not in given]
        for value, description in _settings(known, last):
            yield f"{name}:{before}{comma}{value}", description


def settings(ctx: typer.Context, incomplete: str) -> Completions:
    """Yield the keys of options with their defaults, and the values of a single key."""
    known: dict[str, Field] = {}
    method, task = ctx.params.get("method"), ctx.params.get("task")
    task = task if isinstance(task, str) else None  # restore takes a list
    for kind in _kinds_of(ctx):
        with contextlib.suppress(UserError):
            described = configs.describe(kind, method if kind == "hybrid" else None, task)
            known |= {field.key: field for field in described}
    return _settings(list(known.values()), incomplete)


def shell_safe(text: str) -> str:
    """Remove the characters of an explanation that are special to a shell or to rich."""
    return _UNSAFE.sub("", text.replace("'", "’")).strip()


def run_completion(app: Callable[[], object], environment: MutableMapping[str, str] = os.environ) -> object:
    """Print the completions that the shell requests with `COMPLETION_VARIABLE`."""
    # bash splits words at `=` and `:` and replaces only the last part; typer doesn't account for that.
    if environment[COMPLETION_VARIABLE] != "complete_bash":
        return app()
    words, index = environment.get("COMP_WORDS", "").split("\n"), int(environment.get("COMP_CWORD") or 0)
    words, last = rejoin_words(words[: index + 1])
    environment.update({"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)})
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        app()
    sys.stdout.write("".join(f"{line[last:]}\n" for line in printed.getvalue().splitlines() if line))
    return 0


def rejoin_words(words: list[str]) -> tuple[list[str], int]:
    """Rejoin the words that bash split; return them and the length that bash counts as words before the last part."""
    joined: list[str] = []
    for number, word in enumerate(words):
        if number and {word, words[number - 1]} & {"=", ":"}:
            joined[-1] += word
        else:
            joined.append(word)
    split_part = re.match(r".*[=:]", joined[-1]) if joined else None
    return joined, split_part.end() if split_part else 0


def _settings(known: list[Field], incomplete: str) -> Completions:
    """Yield `key=default` of each matching field; if only one matches, all its values."""
    key, equals, _ = incomplete.partition("=")
    matching = [field for field in known if (field.key == key if equals else field.key.startswith(key))]
    for field in matching:
        needs_no_quotes = field.default is not None and not isinstance(field.default, tuple)
        words: Iterable[str] = [shell_safe(as_text(field.default)) if needs_no_quotes else ""]
        if len(matching) == 1 or equals:
            words = ("true", "false") if field.type is bool else field.choices or words
        for word in words:
            yield f"{field.key}={word}", shell_safe(field.description)


def _kinds_of(ctx: typer.Context) -> Iterable[str]:
    """Return the kind of run on the command line; all kinds if none is typed yet."""
    # typer hasn't parsed the arguments before an option that has no value yet.
    words = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")
    kind = KIND_OF_COMMAND.get(ctx.info_name or "") or next((word for word in words.split() if word in KINDS), "")
    return (kind,) if kind else KINDS
