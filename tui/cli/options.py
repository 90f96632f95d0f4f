"""The options that commands share, and how they find the runs that are meant."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from dipddpm.core.errors import UserError, suggest
from dipddpm.core.io.sanitize import printable
from dipddpm.core.launch.local import runs_root
from dipddpm.core.runs import CONFIG_FILE, Run, RunsFolder, reference
from dipddpm.core.runs.equivalence import runs_in_group
from dipddpm.tui.cli import complete
from dipddpm.tui.cli.command import option

IDS_OR_GROUPS = "Ids, unique prefixes, last, or names of groups."


def run_argument(metavar: str, text: str) -> Any:
    """Make an argument that names runs, which the shell completes."""
    return typer.Argument(metavar=metavar, help=text, autocompletion=complete.runs)


RunsDir: TypeAlias = Annotated[
    Path | None,
    typer.Option("--runs-dir", metavar="FOLDER", help="Where runs are kept (else DIPDDPM_RUNS, else ./runs)."),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
RunArguments: TypeAlias = Annotated[list[str], run_argument("RUN...", IDS_OR_GROUPS)]
RunArgument: TypeAlias = Annotated[str, run_argument("RUN", "An id, a unique prefix of one, last, or reference.")]
Mirror: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="tensorboard", help="Write this along while it goes on, in a folder of the run's own."),
]
On: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="slurm:KEY=VALUE,...",
        help="Make it a job of this cluster, as slurm:partition=gpu,gres=gpu:1,time=4:00:00; resume takes here, too.",
        autocompletion=complete.clusters,
    ),
]
Now: TypeAlias = Annotated[bool, typer.Option("--now", help="Don't wait for a free slot on the device.")]


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """The options of the commands that make runs; a command overrides one that it doesn't take with `init=False`."""

    settings: list[str] | None = option(
        None, "Any option by its key, as dip.channels=16.", "--set", metavar="KEY=VALUE", complete=complete.settings
    )
    data_dir: Path | None = option(None, "A folder to look for the data in first.")
    device: str | None = option(None, "auto, cpu, cuda, cuda:N or mps.", key="device", complete=complete.devices)
    processes: int | None = option(
        None, "GPUs, or processes of the CPU, that share the work.", "--gpus", "--nproc", key="processes", metavar="N"
    )
    seed: int | None = option(None, "Seed of every random draw.", key="seed")
    name: str | None = option(None, "What to call the run.", key="name")
    group: str | None = option(None, "A word for the runs that it belongs with.", key="group", complete=complete.groups)
    on: On = None
    detach: bool = option(False, "Return at once; the run goes on by itself.", "--detach")
    now: Now = False
    dry_run: bool = option(False, "Print the complete config and do nothing.", "--dry-run")
    runs_dir: RunsDir = None
    json: Json = False

    def config_settings(self) -> dict[str, Any]:
        """What a config is built of: `--set` first, then the options with a name of their own that were given."""
        given = {key: value for key, value in self.named_settings().items() if value is not None}
        return parse_settings(self.settings) | given

    def named_settings(self) -> dict[str, Any]:
        """The values of the options with a name of their own by dotted key of the config; None for those not given."""
        values = {field.metadata.get("key"): getattr(self, field.name) for field in fields(self)}
        values["data.directory"] = self.data_dir and str(self.data_dir.expanduser().absolute())
        return {key: value for key, value in values.items() if key}


def parse_settings(settings: Iterable[str] | None) -> dict[str, str]:
    """What `--set KEY=VALUE` says, by key. Raises UserError for one without a value."""
    values = {}
    for setting in settings or ():
        key, equals, value = setting.partition("=")
        if not equals:
            raise UserError(f"--set {setting} has no value.", f"Write it as --set {key}=VALUE.")
        values[key.strip()] = value.strip()
    return values


def find_run(wanted: str, runs_dir: Path | None) -> Run:
    """The run meant. Raises UserError for none or several."""
    return RunsFolder(runs_root(runs_dir)).find(wanted)


def find_runs(wanted: Iterable[str], runs_dir: Path | None) -> list[Run]:
    """The runs meant, each once: a word may also be the name of a group. Raises UserError for one that is neither."""
    folder = RunsFolder(runs_root(runs_dir))
    runs: list[Run] = []
    for word in wanted:
        try:
            runs.append(folder.find(word))
        except UserError:
            if not (members := runs_in_group(folder.runs(), word)):
                raise
            runs += members
    return list(dict.fromkeys(runs))


def find_group(name: str, runs_dir: Path | None) -> list[Run]:
    """The runs of a group, newest first. Raises UserError where no run names it."""
    runs = RunsFolder(runs_root(runs_dir)).runs()
    if members := runs_in_group(runs, name):
        return members
    groups = dict.fromkeys(group for run in runs if (group := run.status().summary.group))
    remedy = suggest(name, groups) if groups else "Make one with: dipddpm sweep"
    raise UserError(f"There is no group {printable(name)!r} of runs.", remedy)


def run_folder_path(wanted: str, runs_dir: Path | None) -> str:
    """The path of the run meant, in the runs folder or elsewhere. Raises UserError for none or several."""
    path = Path(wanted).expanduser()
    folder = path if (path / CONFIG_FILE).is_file() else find_run(wanted, runs_dir).folder
    return str(folder.absolute())


def prior_name(wanted: str, runs_dir: Path | None) -> str:
    """What a config calls the run meant: its folder, or `reference` for the prior that ships. Raises UserError."""
    if wanted == reference.NAME:
        return wanted
    folder = run_folder_path(wanted, runs_dir)
    return reference.NAME if Path(folder) == reference.FOLDER / reference.PRIOR else folder
