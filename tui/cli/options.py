"""Options that commands share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from dipddpm.core.errors import UserError, suggest
from dipddpm.core.io.sanitize import printable
from dipddpm.core.launch.local import runs_root
from dipddpm.core.runs import CONFIG_FILE, Run, RunsFolder, reference
from dipddpm.core.runs.equivalence import runs_in_group
from dipddpm.tui.cli import complete

RunsDir: TypeAlias = Annotated[
    Path | None,
    typer.Option("--runs-dir", metavar="FOLDER", help="Where runs are kept (else DIPDDPM_RUNS, else ./runs)."),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
RunArguments: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN...", help="Ids, unique prefixes, last, or names of groups.", autocompletion=complete.runs
    ),
]
GroupOf: TypeAlias = Annotated[
    str | None, typer.Option("--group", help="The runs of this group.", autocompletion=complete.groups)
]
RunArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="An id, a unique prefix of one, last, or reference.", autocompletion=complete.runs
    ),
]
Kind: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="{dip|ddpm|hybrid}",
        help="dip fits an untrained network to each image; ddpm trains a diffusion model; hybrid combines them.",
        autocompletion=complete.kinds,
    ),
]
Epochs: TypeAlias = Annotated[int | None, typer.Option(help="Passes over the training images (ddpm, hybrid).")]
Iterations: TypeAlias = Annotated[int | None, typer.Option(help="Steps on each image (dip).")]
Method: TypeAlias = Annotated[
    str | None, typer.Option(help="How the two are combined (hybrid).", autocompletion=complete.methods)
]
Prior: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="RUN",
        help="The run whose model is the prior, or reference (hybrid).",
        autocompletion=complete.runs,
    ),
]
Dataset: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="fashionmnist, fashion-mini, mnist, kmnist, cifar10 or folder:PATH.", autocompletion=complete.datasets
    ),
]
Images: TypeAlias = Annotated[
    str | None, typer.Option(metavar="N|LIST", help="Images to restore: the first N, or places as 3,17 or 0-9.")
]
ImageFiles: TypeAlias = Annotated[
    list[Path] | None, typer.Option("--image", metavar="FILE", help="An image file to restore; may be repeated.")
]
TaskSpec: TypeAlias = Annotated[
    str | None,
    typer.Option("--task", metavar="SPEC", help="The degradation, as denoise:sigma=25.", autocompletion=complete.tasks),
]
Preset: TypeAlias = Annotated[
    str | None,
    typer.Option(help="A named set of options; quick takes a minute or two.", autocompletion=complete.presets),
]
DataDir: TypeAlias = Annotated[Path | None, typer.Option(help="A folder to look for the data in first.")]
Settings: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any option by its key, as dip.channels=16.",
        autocompletion=complete.settings,
    ),
]
Device: TypeAlias = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", autocompletion=complete.devices)
]
Processes: TypeAlias = Annotated[
    int | None,
    typer.Option("--gpus", "--nproc", metavar="N", help="GPUs, or processes of the CPU, that share the work."),
]
Seed: TypeAlias = Annotated[int | None, typer.Option(help="Seed of every random draw.")]
Name: TypeAlias = Annotated[str | None, typer.Option(help="What to call the run.")]
Group: TypeAlias = Annotated[
    str | None, typer.Option(help="A word for the runs that it belongs with.", autocompletion=complete.groups)
]
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
Detach: TypeAlias = Annotated[bool, typer.Option("--detach", help="Return at once; the run goes on by itself.")]
Now: TypeAlias = Annotated[bool, typer.Option("--now", help="Don't wait for a free slot on the device.")]
DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Print the complete config and do nothing.")]


def config_settings(options: Mapping[str, Any], data_dir: Path | None, settings: list[str] | None) -> dict[str, Any]:
    """What a config is built of: `--set` first, then the options with a name of their own that were given."""
    named = {**options, "data.directory": data_dir and str(data_dir.expanduser().absolute())}
    return parse_settings(settings) | {key: value for key, value in named.items() if value is not None}


def parse_settings(settings: list[str] | None) -> dict[str, str]:
    """What `--set KEY=VALUE` says, by key. Raises UserError for one without a value."""
    values = {}
    for setting in settings or []:
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
    """The whole path of the run meant: one of the runs folder, or the path of a run's folder elsewhere.

    Raises UserError for none or several.
    """
    path = Path(wanted).expanduser()
    folder = path if (path / CONFIG_FILE).is_file() else find_run(wanted, runs_dir).folder
    return str(folder.absolute())


def prior_name(wanted: str, runs_dir: Path | None) -> str:
    """What a config calls the run meant: its folder, wherever that lies, or the word for the prior that ships.

    A run of the runs folder, or the path of a run's folder elsewhere. Raises UserError for none or several.
    """
    if wanted == reference.NAME:
        return wanted
    folder = run_folder_path(wanted, runs_dir)
    return reference.NAME if Path(folder) == reference.FOLDER / reference.PRIOR else folder
