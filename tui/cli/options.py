"""The options that commands share, and the search for the runs that an argument names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from dipddpm.core.errors import UserError, suggest
from dipddpm.core.io import home
from dipddpm.core.io.sanitize import printable
from dipddpm.core.launch.local import runs_root
from dipddpm.core.runs import CONFIG_FILE, Run, RunsFolder, reference
from dipddpm.core.runs.equivalence import runs_in_group
from dipddpm.tui.cli import complete
from dipddpm.tui.cli.command import option
from dipddpm.tui.cli.help import GENERAL, IMAGES, MACHINE, METHOD, RUNS

IDS_OR_GROUPS = "Run ids, unique prefixes of ids, `last`, or names of groups."
DEVICES = "auto, cpu, cuda, cuda:N or mps."


def run_argument(metavar: str, text: str, group: str = RUNS) -> Any:
    """Make an argument that names runs and that the shell completes."""
    return typer.Argument(metavar=metavar, help=text, rich_help_panel=group, autocompletion=complete.runs)


RunsDir: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--runs-dir",
        metavar="FOLDER",
        help="The folder that holds the runs.  [default: DIPDDPM_RUNS, or ./runs]",
        rich_help_panel=GENERAL,
    ),
]
Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON for other programs to read.", rich_help_panel=GENERAL)
]
RunArguments: TypeAlias = Annotated[list[str], run_argument("RUN", IDS_OR_GROUPS)]
RunArgument: TypeAlias = Annotated[
    str, run_argument("RUN", "A run id, a unique prefix of one, `last`, or `reference`.")
]
RunOrGroup: TypeAlias = Annotated[
    str, run_argument("RUN", "A run id, a unique prefix of one, `last`, or the name of a group.")
]
Mirror: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="tensorboard",
        help="Also write TensorBoard files into the run's folder while the run works.",
        rich_help_panel=RUNS,
    ),
]
On: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="slurm:KEY=VALUE,...",
        help="Submit the run as a Slurm job with these sbatch options, for example "
        "slurm:partition=gpu,gres=gpu:1,time=4:00:00.",
        rich_help_panel=MACHINE,
        autocompletion=complete.clusters,
    ),
]
Now: TypeAlias = Annotated[
    bool,
    typer.Option("--now", help="Start at once, even if other runs already fill the device.", rich_help_panel=MACHINE),
]


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """The options of the commands that make runs; a command removes an inherited option with `init=False`."""

    settings: list[str] | None = option(
        None,
        "Set any option of the config by its key, for example threads=2; may be repeated.",
        "--set",
        group=METHOD,
        metavar="KEY=VALUE",
        complete=complete.settings,
    )
    seed: int | None = option(None, "Seed of every random draw.", group=METHOD, key="seed", metavar="N")
    data_dir: Path | None = option(
        None, "A folder to search for the data set before the usual places.", group=IMAGES, metavar="FOLDER"
    )
    device: str | None = option(None, DEVICES, group=MACHINE, key="device", metavar="DEVICE", complete=complete.devices)
    processes: int | None = option(
        None,
        "Processes that share the work, each on a GPU of its own, or all on the CPU.",
        "--gpus",
        "--nproc",
        group=MACHINE,
        key="processes",
        metavar="N",
    )
    on: On = None
    now: Now = False
    name: str | None = option(None, "A name for the run.", group=RUNS, key="name", metavar="TEXT")
    group: str | None = option(
        None,
        "The group that the run joins, one word.",
        group=RUNS,
        key="group",
        metavar="WORD",
        complete=complete.groups,
    )
    detach: bool = option(False, "Start the run, print its id and return.", "--detach", group=RUNS)
    dry_run: bool = option(False, "Print the complete config and start nothing.", "--dry-run", group=RUNS)
    runs_dir: RunsDir = None
    json: Json = False

    def config_settings(self) -> dict[str, Any]:
        """Return the values for the config by dotted key; options with a name of their own win over `--set`."""
        given = {key: value for key, value in self.named_settings().items() if value is not None}
        return parse_settings(self.settings) | given

    def named_settings(self) -> dict[str, Any]:
        """Return the values of the options with a name of their own by dotted key; None for an option not given."""
        values = {field.metadata.get("key"): getattr(self, field.name) for field in fields(self)}
        values["data.directory"] = self.data_dir and str(self.data_dir)
        return {key: value for key, value in values.items() if key}


def parse_settings(settings: Iterable[str] | None) -> dict[str, str]:
    """Return the values of `--set KEY=VALUE` by key. Raises UserError for a setting without a value."""
    values = {}
    for setting in settings or ():
        key, equals, value = setting.partition("=")
        if not equals:
            raise UserError(
                f"--set {printable(setting)!r} has no value.", "Write it as --set KEY=VALUE, for example dip.lr=0.01."
            )
        values[key.strip()] = value.strip()
    return values


def find_run(wanted: str, runs_dir: Path | None) -> Run:
    """Return the run that `wanted` names. Raises UserError if no run or several runs match."""
    return RunsFolder(runs_root(runs_dir)).find(wanted)


def find_runs(wanted: Iterable[str], runs_dir: Path | None) -> list[Run]:
    """Return the runs that the words name, each once; a word is a run or a group.

    Raises UserError if it is neither, and if it is a part of a run's id and the name of a group that has other runs.
    """
    folder = RunsFolder(runs_root(runs_dir))
    runs: list[Run] = []
    for word in wanted:
        try:
            run = folder.find(word)
        except UserError:
            if not (members := runs_in_group(folder.runs(), word)):
                raise
            runs += members
            continue
        is_part = run.id != word and word in run.id
        if is_part and set(runs_in_group(folder.runs(), word)) - {run}:
            problem = f"{word!r} is both a part of the run id {run.id} and the name of a group."
            raise UserError(problem, f"Write whole ids; those of the group are in dipddpm ls --group {word}.")
        runs.append(run)
    return list(dict.fromkeys(runs))


def find_group(name: str, runs_dir: Path | None) -> list[Run]:
    """Return the runs of a group, newest first. Raises UserError if no run belongs to it."""
    runs = RunsFolder(runs_root(runs_dir)).runs()
    if members := runs_in_group(runs, name):
        return members
    groups = dict.fromkeys(group for run in runs if (group := run.status().summary.group))
    remedy = suggest(name, groups) if groups else "Make one with dipddpm sweep, or with dipddpm run --group."
    raise UserError(f"There is no group of runs named {printable(name)!r}.", remedy)


def run_folder_path(wanted: str, runs_dir: Path | None) -> str:
    """Return the folder of a run, given by path or by name. Raises UserError if no run or several runs match."""
    path = home.expand(wanted)
    folder = path if (path / CONFIG_FILE).is_file() else find_run(wanted, runs_dir).folder
    return str(folder.absolute())


def prior_name(wanted: str, runs_dir: Path | None) -> str:
    """Return a run as `prior.run` holds it: its folder, or the name of a prior that ships.

    Raises UserError if no run or several runs match.
    """
    if wanted in reference.RUNS:
        return wanted
    try:
        folder = run_folder_path(wanted, runs_dir)
    except UserError as error:
        remedy = "Train a prior first with dipddpm run ddpm"
        if RunsFolder(runs_root(runs_dir)).runs():
            remedy = error.remedy.rstrip(".")
        raise UserError(
            error.problem, f"{remedy}, or take one that ships: --from {' or '.join(reference.RUNS)}."
        ) from None
    return next((name for name in reference.RUNS if reference.prior_folder(name) == Path(folder)), folder)
