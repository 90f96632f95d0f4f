"""One process = one run: config in, events out; `python -m dipddpm.core.launch.worker FOLDER`.

Nothing heavy is loaded before the run has its slot, so that a queue of waiting workers costs little.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import re
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dipddpm.core import config as configs
from dipddpm.core import events, registry
from dipddpm.core.compute import devices
from dipddpm.core.errors import UserError
from dipddpm.core.io import atomic
from dipddpm.core.launch import local, queue, submit
from dipddpm.core.runs import (
    ENVIRONMENT_FILE,
    STOP_FILE,
    STOP_REQUEST,
    SUMMARY_FILE,
    EventLog,
    Run,
    RunsFolder,
    RunState,
    slurm,
    summary,
)
from dipddpm.core.runs import heartbeat as life

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from dipddpm.core.config import AnyRun
    from dipddpm.core.events import Experiment
    from dipddpm.core.launch.recorder import Recorder

STOP_POLL_SECONDS = 0.5
TIME_IS_UP = "its job's time is up"
LOCK_SECONDS = 2.0
PROCESS_ENDED = (
    "One of the processes that shared this run has ended.",
    "See worker.log, then resume the run: it goes on from its last checkpoint.",
)


def main(arguments: list[str] | None = None) -> int:
    """Carry out the run of a folder; the exit code is 0 for done or stopped, 1 for failed, 2 for refused."""
    parser = argparse.ArgumentParser(prog="dipddpm.core.launch.worker")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--since", type=int, help="when it was asked for: its place in the queue")
    parser.add_argument("--now", action="store_true", help="start at once, without waiting for a slot")
    parser.add_argument("--job", action="store_true", help="be a job of a cluster, which goes on after its time")
    parser.add_argument("--member-of", help="be one of several processes on these devices, as torchrun's variables say")
    options = parser.parse_args(arguments)
    run = Run(options.folder)
    try:
        run.refuse_writing()
        config = run.config()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    # One of several processes that share a run: the first one records it, the worker that started them stamps it.
    rank = int(os.environ["LOCAL_RANK"]) if options.member_of else None
    try:
        log = None if rank else EventLog(options.folder, patience=LOCK_SECONDS)
    except (UserError, OSError) as error:
        print(*explain(error, config), file=sys.stderr)
        return 2
    if rank is None:
        for subfolder in (options.folder, options.folder / "checkpoints", options.folder / "images"):
            atomic.remove_temporaries(subfolder)
    with (
        contextlib.closing(log) if log else contextlib.nullcontext(),
        Heartbeat(options.folder, writes_stamps=rank is None) as heartbeat,
    ):
        worker = _RunWorker(options, config, log, heartbeat)
        return worker.run_guarded(worker.run if rank is None else lambda: worker.run_rank(rank))


class Heartbeat:
    """A thread that stamps worker.json, and the wish to stop, which comes as a signal or as a file in the folder."""

    def __init__(self, folder: Path, *, writes_stamps: bool = True) -> None:
        self.folder = folder
        self.writes_stamps = writes_stamps
        self.stop_reason = ""
        self.device = ""
        self._progressed = time.time()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> Heartbeat:
        signal.signal(signal.SIGTERM, lambda *_: self.request_stop("SIGTERM"))
        signal.signal(signal.SIGINT, lambda *_: self.request_stop("SIGINT"))
        # What submitit has Slurm send to a job some time before its end.
        signal.signal(signal.SIGUSR2, lambda *_: self.request_stop(TIME_IS_UP))
        # A worker outlives the terminal that it was started from.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._stamp()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def request_stop(self, reason: str) -> None:
        """Ask for an end after the present step."""
        self.stop_reason = self.stop_reason or reason

    def note_progress(self) -> None:
        """Note that the work got on."""
        self._progressed = time.time()

    def _run(self) -> None:
        stamped = time.monotonic()
        while not self._done.wait(STOP_POLL_SECONDS):
            with contextlib.suppress(OSError):  # a file system that is gone for a moment asks for nothing
                if (self.folder / STOP_FILE).exists():
                    self.request_stop(STOP_REQUEST)
            if time.monotonic() - stamped >= life.BEAT_SECONDS:
                stamped = time.monotonic()
                self._stamp()

    def _stamp(self) -> None:
        if not self.writes_stamps:
            return
        identity = life.process_identity()
        assert identity is not None
        worker = life.Worker(identity, alive=time.time(), progressed=self._progressed, device=self.device)
        with contextlib.suppress(OSError):  # a full disk is the log's to report, not the pulse's
            life.write(self.folder, worker)


class _RunWorker:
    """The work itself, from waiting in the queue to the last event."""

    def __init__(self, options: argparse.Namespace, config: AnyRun, log: EventLog | None, heartbeat: Heartbeat) -> None:
        """Without a log it is another process that records."""
        self.options = options
        self.folder: Path = options.folder
        self.config = config
        self.log = log
        self.heartbeat = heartbeat
        self.began = time.monotonic()
        self.experiment: Experiment | None = None

    def run(self) -> int:
        """Wait for what it needs, and do it."""
        device_names = self._wait_for_devices()
        if not device_names:
            self._append(events.RunStopped(reason=self.heartbeat.stop_reason))
            return 0
        if len(device_names) > 1:
            return self._run_torchrun(device_names)
        prepare_torch(self.config, device_names[0])
        return self._carry_out(device_names[0])

    def run_guarded(self, work: Callable[[], int]) -> int:
        """Do the work; what goes wrong is the run's last event."""
        try:
            return work()
        except Exception as error:
            problem, hint = explain(error, self.config)
            step = 0 if self.experiment is None else self.experiment.step
            self._last_word(events.RunFailed(error=problem, hint=hint, step=step))
            with contextlib.suppress(OSError):  # worker.log may lie on the disk that is full
                if not isinstance(error, UserError):
                    traceback.print_exc()
                print(f"{problem} {hint}", file=sys.stderr)
            return 1

    def run_rank(self, rank: int) -> int:
        """Do this process's part of a run that several share, as number `rank`."""
        from dipddpm.core.compute import distributed
        from dipddpm.core.launch import torchrun

        torchrun.die_with_parent()
        device_names = self.options.member_of.split(",")
        threads = 0
        if device_names[rank] == "cpu":  # which the processes share
            threads = self.config.threads or max(1, len(os.sched_getaffinity(0)) // len(device_names))
        device = prepare_torch(msgspec.structs.replace(self.config, threads=threads), device_names[rank])
        with distributed.join_process_group(device):
            return self._carry_out(device_names[rank])

    def _run_torchrun(self, device_names: list[str]) -> int:
        """Have several processes do it, the first of which takes the log over."""
        from dipddpm.core.launch import torchrun

        assert self.log is not None
        self.heartbeat.device = ",".join(device_names)
        first_step = summary.read(self.folder).step
        self.log.close()
        code = torchrun.run_torchrun(
            self.folder,
            device_names,
            resume=self.options.resume,
            stop_reason=lambda: self.heartbeat.stop_reason,
            on_progress=self.heartbeat.note_progress,
        )
        self.log = EventLog(self.folder, patience=LOCK_SECONDS)
        final_summary = summary.rebuild(self.folder)
        if final_summary.phase.live:
            raise UserError(*PROCESS_ENDED)
        if self.options.job and final_summary.phase is RunState.stopped and self.heartbeat.stop_reason != STOP_REQUEST:
            # The processes were asked by the file, which the job that goes on must not find.
            (self.folder / STOP_FILE).unlink(missing_ok=True)
            self._report_stop(self._append, final_summary.step, first_step)
        return 0 if code == 0 or self.heartbeat.stop_reason else 1

    def _append(self, event: events.Event) -> None:
        if self.log is not None:
            self.log.append(event)

    def _last_word(self, event: events.RunFailed) -> None:
        try:
            self._append(event)
        except OSError:
            # The summary can be rebuilt, so on a full disk it gives up its place for the event.
            with contextlib.suppress(OSError):
                (self.folder / SUMMARY_FILE).unlink(missing_ok=True)
                self._append(event)

    def _wait_for_devices(self) -> list[str]:
        """A device for each process, which on the CPU all share; none if it is to stop before there are."""
        usable = devices.candidates(self.config.device)
        if self.config.starts_others:
            return ["cpu"]
        process_count = self.config.processes if isinstance(self.config, configs.SharedRun) else 1
        count, processes_on_each = (1, process_count) if usable == ["cpu"] else (process_count, 1)
        if len(usable) < count:
            problem = f"This machine has {len(usable)} GPUs for {count} processes."
            raise UserError(problem, f"Lower --gpus to {len(usable)}, or add --device cpu.")

        def report_queued(ahead: int) -> None:
            self._append(events.RunQueued(device=" or ".join(usable), ahead=ahead))

        report_queued(0)
        if self.options.now:
            return usable[:count] * processes_on_each
        # The slots' locks are kept by their descriptors until this process ends.
        slot = queue.acquire(
            self.folder.name,
            usable,
            count,
            since=self.options.since,
            should_give_up=lambda: bool(self.heartbeat.stop_reason),
            on_position=report_queued,
        )
        self.heartbeat.note_progress()
        return slot.devices * processes_on_each if slot else []

    def _carry_out(self, device_name: str) -> int:
        from dipddpm.core.launch.recorder import Recorder
        from dipddpm.core.runs.environment import collect

        device = devices.resolve(device_name)
        self.heartbeat.device = device_name
        environment = collect(device_name, devices.describe(device), self.config.threads)
        if self.log is not None:
            atomic.write_atomic(self.folder / ENVIRONMENT_FILE, msgspec.json.format(msgspec.json.encode(environment)))
        target: object = device
        if self.config.starts_others:  # which computes nothing itself
            from dipddpm.core.study.stages import Launcher

            target = Launcher(RunsFolder(self.folder.parent), local.start, local.resume, local.stop)
        experiment_class = registry.resolve(configs.experiment_path(self.config))
        experiment = self.experiment = experiment_class.from_config(self.config, target)
        recorder = Recorder(self.folder, self.log, device)
        # A run that was killed before it began has nothing to go on from.
        if self.options.resume and recorder.summary.started:
            recorder.resume_from_checkpoint(experiment)
        else:
            recorder.record(
                msgspec.structs.replace(experiment.started(), device=device_name, device_name=environment.device_name)
            )
        first_step = experiment.step
        stopped = self._iterate(experiment, recorder, device)
        recorder.checkpoint(experiment)
        if stopped:
            self._report_stop(recorder.record, experiment.step, first_step)
        else:
            recorder.record(events.RunFinished(seconds=time.monotonic() - self.began, step=experiment.step))
        return 0

    def _report_stop(self, record: Callable[[events.Event], object], step: int, first_step: int) -> None:
        """Tell of a stop before the end; of a job that Slurm starts again, that it waits."""
        reason = self.heartbeat.stop_reason
        time_is_up = reason == TIME_IS_UP
        if self.options.job and reason != STOP_REQUEST and (time_is_up or slurm.was_requeued()):
            if time_is_up and step <= first_step:
                problem = "The time of the run's job was up before it got on."
                raise UserError(problem, "Resume it with more time, as --on slurm:time=4:00:00.")
            record(
                events.Message(text=f"Leaves the cluster to others at step {step}, and waits to go on", level="info")
            )
            record(events.RunQueued(device="Slurm"))
            if not time_is_up or submit.requeue():
                return
        record(events.RunStopped(reason=reason, step=step))

    def _iterate(self, experiment: Experiment, recorder: Recorder, device: torch.device) -> bool:
        """Record the work until it ends or is stopped, and return whether it was stopped."""
        from dipddpm.core.compute.distributed import ProcessGroup

        process_group = ProcessGroup.current()
        saved, saved_epoch = time.monotonic(), experiment.epoch
        for item in experiment:
            recorder.record(item)
            self.heartbeat.note_progress()
            if not isinstance(item, events.Step):  # only after it can the experiment's state be stored
                continue
            due = (
                time.monotonic() - saved >= self.config.checkpoint_seconds
                or 0 < self.config.checkpoint_epochs <= experiment.epoch - saved_epoch
            )
            stop, due = process_group.any_rank([bool(self.heartbeat.stop_reason), due], device)
            if stop:
                return True  # which closes the iteration: what starts other runs stops them then
            if due:
                recorder.checkpoint(experiment)
                saved, saved_epoch = time.monotonic(), experiment.epoch
        return False


def prepare_torch(config: AnyRun, device_name: str) -> torch.device:
    """Load torch, seed the generators that all code shares and set its threads."""
    import torch

    from dipddpm.core.compute import rng

    if config.threads:
        torch.set_num_threads(config.threads)
    rng.seed_all(config.seed)
    torch.set_flush_denormal(True)
    return devices.resolve(device_name)


def explain(error: BaseException, config: AnyRun) -> tuple[str, str]:
    """What went wrong and what to do about it, a sentence each."""
    if isinstance(error, UserError):
        return error.problem, error.remedy
    # torch raises a plain RuntimeError where the host's memory ends.
    if isinstance(error, MemoryError) or re.search("out of memory|can't allocate memory", str(error), re.IGNORECASE):
        return "The device ran out of memory.", configs.lower_memory(config)
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "The disk is full.", "Free some space, then resume the run; the last best model is whole."
    if isinstance(error, OSError):
        return f"A file could not be used: {error}.", "Check the runs folder and its disk, then resume the run."
    if re.search("gloo|nccl", str(error), re.IGNORECASE):
        return PROCESS_ENDED
    first_line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line}", "The whole traceback is in worker.log; please report it."


if __name__ == "__main__":
    sys.exit(main())
