"""A run as a job of a Slurm cluster: what `--on slurm:...` asks for, its submission through submitit, and its end.

Loads no torch, and submitit, which is an extra, only to submit.

No pickle: submitit's `submit` stores a pickled function and has the compute node load it, from a folder that may have
come from anywhere. Here the job is a command line, `python -m dipddpm.core.launch.worker FOLDER`, which submitit writes
into a batch script and hands to sbatch; the config that it carries out is TOML, read as without trust as ever.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import subprocess
import time
from typing import Any

from dipddpm.core import events
from dipddpm.core.config import AnyRun
from dipddpm.core.errors import UserError, suggest
from dipddpm.core.runs import LOG_FILE, SCRIPTS_FOLDER, STOP_REQUEST, EventLog, Run, slurm
from dipddpm.core.runs.environment import COMMAND_VARIABLE, command_line, python_module

HERE = "here"
"""What `--on` takes for this machine."""
SLURM = "slurm"
"""And what for a cluster, before its options."""
WARNING_SECONDS = 90
"""A job is told so long before its time is up; a short one a quarter of its time."""
_COUNT = re.compile(r"[1-9]\d{0,5}")
_MEMORY = re.compile(r"\d{1,9}[KMGT]?B?", re.IGNORECASE)
_TIME = re.compile(r"(?:(\d{1,4})-(\d{1,2})(?::(\d{1,2}))?(?::(\d{1,2}))?|(\d{1,6})(?::(\d{1,2}))?(?::(\d{1,2}))?)")
_WORDS = re.compile(r"[\w.,:/@+*|&()\[\]!%-]{1,500}", re.ASCII)
"""Whatever else Slurm takes; nothing that ends a line of the batch script or an argument."""
OPTIONS: dict[str, tuple[re.Pattern[str], str]] = {
    "account": (_WORDS, "vision"),
    "begin": (_WORDS, "20:00"),
    "comment": (_WORDS, "thesis"),
    "constraint": (_WORDS, "a100"),
    "cpus_per_task": (_COUNT, "8"),
    "dependency": (_WORDS, "afterok:123"),
    "exclude": (_WORDS, "node[1-3]"),
    "gpus": (_WORDS, "1"),
    "gres": (_WORDS, "gpu:1"),
    "licenses": (_WORDS, "matlab:1"),
    "mail_type": (_WORDS, "END"),
    "mail_user": (_WORDS, "me@example.org"),
    "mem": (_MEMORY, "32G"),
    "mem_per_cpu": (_MEMORY, "4G"),
    "mem_per_gpu": (_MEMORY, "32G"),
    "nice": (_COUNT, "100"),
    "nodelist": (_WORDS, "node7"),
    "partition": (_WORDS, "gpu"),
    "qos": (_WORDS, "normal"),
    "reservation": (_WORDS, "course"),
    "time": (_TIME, "4:00:00"),
}
"""Options of sbatch that may be asked for, with underscores: what their values look like, and an example."""


def parse(on: str) -> dict[str, str]:
    """The options that `slurm:partition=gpu,time=4:00:00` asks for, in Slurm's words.

    A part without `=` belongs to the value before it, as in `partition=gpu,long`. Raises UserError for anything else
    than Slurm, an option that there isn't, and a value that can't be right.
    """
    where, _, rest = on.partition(":")
    if where != SLURM:
        raise UserError(f"A run can't be started on {where!r}.", suggest(where, [SLURM, HERE]))
    options: dict[str, str] = {}
    key = ""
    for part in filter(None, (part.strip() for part in rest.split(","))):
        name, equals, value = part.partition("=")
        name = name.strip().replace("-", "_")
        if not equals and key and name not in OPTIONS:
            options[key] += f",{part}"
            continue
        if name not in OPTIONS:
            raise UserError(f"--on slurm has no option {name!r}.", suggest(name, OPTIONS))
        if not equals:
            raise UserError(f"The option {name} of --on slurm has no value.", f"Write it as {name}={OPTIONS[name][1]}.")
        if name in options:
            raise UserError(f"--on slurm is given {name} twice.", "Leave one of them out.")
        key = name
        options[key] = value.strip()
    for key, value in options.items():
        pattern, example = OPTIONS[key]
        if not pattern.fullmatch(value) or (key == "time" and not minutes(value)):
            raise UserError(f"Slurm takes no {key} of {value!r}.", f"Write it as {key}={example}.")
    return options


def minutes(time: str) -> float:
    """A time limit in minutes, of Slurm's forms M, M:S, H:M:S, D-H, D-H:M and D-H:M:S."""
    match = _TIME.fullmatch(time)
    if match is None:
        raise ValueError(time)
    day, hour, minute, second, *short = (int(part or 0) for part in match.groups())
    if match[7]:  # H:M:S
        hour, minute, second = short
    elif match[5]:  # M, M:S
        minute, second = short[:2]
    return 1440 * day + 60 * hour + minute + second / 60


def refuse(on: str, config: AnyRun | None = None) -> None:
    """Raise UserError for what would fail for certain: wrong options, no submitit, no Slurm on this machine."""
    parse(on)
    if config is not None and config.starts_others:
        raise UserError(f"A run of kind {config.kind} starts others, on its own machine.", "Leave --on out.")
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise UserError("--on slurm needs submitit.", "Install it with: pip install 'dipddpm[slurm]'") from None
    if shutil.which("sbatch") is None:
        problem = "There is no Slurm on this machine: sbatch is not found."
        raise UserError(problem, f"Go to the cluster's login node, or leave --on out (--on {HERE}, to resume).")


def submit(run: Run, on: str) -> None:
    """Make a job of the run, which goes on from the last checkpoint where there is one.

    The folder must be on a file system that the compute nodes share. Raises UserError where Slurm takes no such job.
    """
    import submitit
    from submitit.core.utils import FailedJobError

    options = parse(on)
    folder = run.folder.resolve()
    command = python_module("dipddpm.core.launch.worker", str(folder), "--resume", "--now", "--job")
    try:
        (folder / SCRIPTS_FOLDER).mkdir(exist_ok=True)
        executor = submitit.SlurmExecutor(folder / SCRIPTS_FOLDER)
        executor.update_parameters(**_parameters(run.id, str(folder), options))
        with contextlib.redirect_stderr(io.StringIO()):  # submitit prints what sbatch complains of, and raises it too
            number: str = executor._submit_command(shlex.join(command)).job_id
        slurm.write(folder, slurm.ClusterJob(on, number, time.time()))
    except FailedJobError as error:
        raise UserError(f"Slurm takes no such job: {_reason(error)}.", "Look at its partitions with: sinfo") from None
    except OSError as error:
        raise UserError(f"The run can't be submitted: {error.strerror}.", "Check the runs folder.") from None
    with contextlib.suppress(UserError, OSError):  # it has started already
        _append(run, events.RunQueued(device="Slurm"))


def cancel_pending(run: Run) -> None:
    """Take a run that has not begun out of Slurm's queue, and tell that it stopped; nobody else could."""
    job_status = slurm.query(run.folder, now=True)
    if job_status is None or not job_status.slurm_job.waits:
        return
    slurm.cancel(job_status.job.id, waiting=True)
    job_status = slurm.query(run.folder, now=True)
    if job_status is not None and job_status.slurm_job.ended:
        with contextlib.suppress(UserError, OSError):  # it began in this very moment, and sees the request
            _append(run, events.RunStopped(reason=STOP_REQUEST, step=run.status().summary.step))


def cancel(run: Run) -> bool:
    """Have Slurm end the run's job; False where it has none that is known to be its own and has not ended."""
    job_status = slurm.query(run.folder, now=True)
    if job_status is None or not job_status.slurm_job.unfinished:
        return False
    slurm.cancel(job_status.job.id)
    return True


def requeue() -> bool:
    """Have Slurm end this process soon and start its job again from the beginning; whether it will."""
    from submitit import JobEnvironment

    try:
        JobEnvironment()._requeue(0)
    except (OSError, RuntimeError, subprocess.SubprocessError):
        return False
    return True


def _parameters(name: str, folder: str, options: dict[str, str]) -> dict[str, Any]:
    """What submitit is to write into the batch script.

    What the worker prints goes to worker.log by its bare name, since a whole path may hold what Slurm takes for its
    patterns; srun, of which submitit has opinions of its own, is told again.
    """
    output = {"output": LOG_FILE, "error": LOG_FILE}
    to_srun = [f"--{key}={value}" for key, value in {**output, "open-mode": "append"}.items()]
    if "cpus_per_task" in options:  # which srun no longer takes over from sbatch
        to_srun.append(f"--cpus-per-task={options['cpus_per_task']}")
    warning = int(min(WARNING_SECONDS, minutes(options["time"]) * 15)) if "time" in options else WARNING_SECONDS
    return {
        "job_name": name,
        "time": None,
        "wckey": None,
        "signal_delay_s": warning,
        "setup": [f"export {COMMAND_VARIABLE}={shlex.quote(command_line())}"],
        "srun_args": to_srun,
        "additional_parameters": {"chdir": folder, "requeue": True, **output, **options},
    }


def _reason(error: Exception) -> str:
    """What sbatch said last, without its own name."""
    lines = [line for line in str(error).strip().splitlines() if "error" in line] or ["it did not say why"]
    return lines[-1].rpartition("error: ")[2].strip().rstrip(".")


def _append(run: Run, event: events.Event) -> None:
    with contextlib.closing(EventLog(run.folder)) as log:
        log.append(event)
