"""Runs as jobs of a Slurm cluster: the options of `--on slurm:...`, submission through submitit, and cancelling.

Loads no torch. submitit is an extra, and loaded only to submit.

No pickle is involved: submitit's `submit` would store a pickled function, which the compute node loads from a folder
of unknown origin. Here the job is a command line, `python -m dipddpm.core.launch.worker FOLDER`, which submitit writes
into a batch script for sbatch; the run's config is TOML and parsed as untrusted input.
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
"""Value of `--on` for this machine."""
SLURM = "slurm"
"""Value of `--on` for a cluster, followed by its options."""
WARNING_SECONDS = 90
"""A job gets a signal this long before its time limit, or after three quarters of a short limit."""
_COUNT = re.compile(r"[1-9]\d{0,5}")
_MEMORY = re.compile(r"\d{1,9}[KMGT]?B?", re.IGNORECASE)
_TIME = re.compile(r"(?:(\d{1,4})-(\d{1,2})(?::(\d{1,2}))?(?::(\d{1,2}))?|(\d{1,6})(?::(\d{1,2}))?(?::(\d{1,2}))?)")
_WORDS = re.compile(r"[\w.,:/@+*|&()\[\]!%-]{1,500}", re.ASCII)
"""Any other value for Slurm, without characters that end an argument or a line of the batch script."""
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
"""Allowed options of sbatch, with underscores: a pattern of their values, and an example."""


def parse(on: str) -> dict[str, str]:
    """Return the sbatch options in `slurm:partition=gpu,time=4:00:00`.

    A part without `=` continues the value before it, as in `partition=gpu,long`. Raises UserError for another target
    than Slurm, an unknown option or an invalid value.
    """
    target, _, text = on.partition(":")
    if target != SLURM:
        raise UserError(f"A run can't be started on {target!r}.", suggest(target, [SLURM, HERE]))
    options: dict[str, str] = {}
    key = ""
    for part in filter(None, (part.strip() for part in text.split(","))):
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
            raise UserError(f"--on slurm has the option {name} twice.", f"Write {name}=... only once.")
        key = name
        options[key] = value.strip()
    for key, value in options.items():
        pattern, example = OPTIONS[key]
        if not pattern.fullmatch(value) or (key == "time" and not minutes(value)):
            raise UserError(f"{value!r} is not a valid {key} for Slurm.", f"Write it like {key}={example}.")
    return options


def minutes(time: str) -> float:
    """Return a time limit in minutes; its form is M, M:S, H:M:S, D-H, D-H:M or D-H:M:S, as in Slurm."""
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
    """Raise UserError for wrong options, a run that can't be a job, a missing submitit or a missing Slurm."""
    parse(on)
    if config is not None and config.starts_others:
        problem = f"A run of kind {config.kind} starts other runs, and must run on this machine."
        raise UserError(problem, "Leave --on out.")
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise UserError("--on slurm needs submitit.", "Install it with: pip install 'dipddpm[slurm]'") from None
    if shutil.which("sbatch") is None:
        problem = "There is no Slurm on this machine: sbatch is not found."
        raise UserError(problem, f"Use the cluster's login node, or leave --on out (to resume here: --on {HERE}).")


def submit(run: Run, on: str) -> None:
    """Submit the run as a job, which resumes from the last checkpoint if there is one.

    The folder must be on a file system that the compute nodes share. Raises UserError if Slurm refuses the job.
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
        with contextlib.redirect_stderr(io.StringIO()):  # submitit prints sbatch's errors and raises them as well
            number: str = executor._submit_command(shlex.join(command)).job_id
        slurm.write(folder, slurm.ClusterJob(on, number, time.time()))
    except FailedJobError as error:
        raise UserError(f"Slurm refused the job: {_reason(error)}.", "List the partitions with: sinfo") from None
    except OSError as error:
        problem = f"The run can't be submitted: {error.strerror}."
        raise UserError(problem, "Check that the runs folder can be written and has free space.") from None


def log_queued(run: Run) -> None:
    """Log that a submitted run waits for its job."""
    with contextlib.suppress(UserError, OSError):  # the job has started already
        _append(run, events.RunQueued(device="Slurm"))


def cancel_pending(run: Run) -> None:
    """Remove a run that hasn't begun from Slurm's queue, and log that it stopped, because it has no worker to do so."""
    job_status = slurm.query(run.folder, now=True)
    if job_status is None or not job_status.slurm_job.waits:
        return
    slurm.cancel(job_status.job.id, waiting=True)
    job_status = slurm.query(run.folder, now=True)
    if job_status is not None and job_status.slurm_job.ended:
        with contextlib.suppress(UserError, OSError):  # the job has just begun, and its worker reads the request
            _append(run, events.RunStopped(reason=STOP_REQUEST, step=run.status().summary.step))


def cancel(run: Run) -> bool:
    """Cancel the run's job; return False if the run has no unfinished job that is certainly its own."""
    job_status = slurm.query(run.folder, now=True)
    if job_status is None or not job_status.slurm_job.unfinished:
        return False
    slurm.cancel(job_status.job.id)
    return True


def requeue() -> bool:
    """Make Slurm requeue the job of this process; return whether that succeeded."""
    from submitit import JobEnvironment

    try:
        JobEnvironment()._requeue(0)
    except (OSError, RuntimeError, subprocess.SubprocessError):
        return False
    return True


def _parameters(name: str, folder: str, options: dict[str, str]) -> dict[str, Any]:
    """Return submitit's parameters for the batch script.

    Output goes to worker.log by its bare name, because Slurm would expand patterns in a whole path. srun gets the same
    options again, because submitit sets its own for srun.
    """
    output = {"output": LOG_FILE, "error": LOG_FILE}
    to_srun = [f"--{key}={value}" for key, value in {**output, "open-mode": "append"}.items()]
    if "cpus_per_task" in options:  # srun no longer inherits this option from sbatch
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
    """Return the last error message of sbatch, without the name of the program."""
    lines = [line for line in str(error).strip().splitlines() if "error" in line] or ["no reason given"]
    return lines[-1].rpartition("error: ")[2].strip().rstrip(".")


def _append(run: Run, event: events.Event) -> None:
    with contextlib.closing(EventLog(run.folder)) as log:
        log.append(event)
