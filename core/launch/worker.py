"""The worker, a process that carries out one run: `python -m dipddpm.core.launch.worker FOLDER`.

The worker loads torch only once the run has its slot, so that waiting workers need little memory.
"""

from __future__ import annotations

import argparse
import contextlib
import os
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
from dipddpm.core.launch import inputs, local, preflight, queue, submit
from dipddpm.core.launch.failure import PROCESS_ENDED, explain
from dipddpm.core.launch.policy import CheckpointPolicy
from dipddpm.core.runs import (
    ENVIRONMENT_FILE,
    STOP_FILE,
    STOP_REQUEST,
    SUMMARY_FILE,
    EventLog,
    Run,
    RunsFolder,
    RunState,
    heartbeat,
    slurm,
    summary,
)
from dipddpm.core.runs.folder import LOCK_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from dipddpm.core.config import AnyRun
    from dipddpm.core.events import Experiment
    from dipddpm.core.launch.recorder import Recorder

STOP_POLL_SECONDS = 0.5
TIME_IS_UP = "the time limit of its job"
"""Reason of the stop that Slurm requests before it ends a job."""


def main(arguments: list[str] | None = None) -> int:
    """Carry out the run of a folder; return the exit code: 0 for finished or stopped, 1 for failed, 2 for refused."""
    parser = argparse.ArgumentParser(prog="dipddpm.core.launch.worker")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--resume", action="store_true", help="resume from the last checkpoint")
    parser.add_argument("--since", type=int, help="arrival time, by which the queue is ordered")
    parser.add_argument("--now", action="store_true", help="start without waiting for a slot")
    parser.add_argument("--job", action="store_true", help="run as a Slurm job, which is requeued at its time limit")
    parser.add_argument("--member-of", help="run as one process of several on these devices, such as cpu,cpu")
    options = parser.parse_args(arguments)
    run = Run(options.folder)
    try:
        run.refuse_writing()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        config = run.config()
    except UserError as error:
        if options.job:  # `local.start` refuses such a config before a job is submitted, but not before one is requeued
            with contextlib.suppress(UserError, OSError), contextlib.closing(EventLog(options.folder)) as own_log:
                own_log.append(events.RunFailed(error=error.problem, hint=error.remedy))
        print(error, file=sys.stderr)
        return 2
    # In a run of several processes, rank 0 writes the log, and the worker that started them writes worker.json.
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
        Heartbeat(options.folder, writes_stamps=rank is None) as beat,
    ):
        worker = _RunWorker(options, config, log, beat)
        return worker.run_guarded(worker.run if rank is None else lambda: worker.run_rank(rank))


class Heartbeat:
    """A thread that updates worker.json and watches for requests to stop, by signal or by a file in the folder."""

    def __init__(self, folder: Path, *, writes_stamps: bool = True) -> None:
        self.folder = folder
        self.writes_stamps = writes_stamps
        self.stop_reason = ""
        self.device = ""
        self.slot: queue.Slot | None = None
        self._progressed = time.time()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        signal.signal(signal.SIGTERM, lambda *_: self.request_stop("SIGTERM"))
        signal.signal(signal.SIGINT, lambda *_: self.request_stop("SIGINT"))
        # Slurm sends this signal some time before it ends the job, as submitit asks it to.
        signal.signal(signal.SIGUSR2, lambda *_: self.request_stop(TIME_IS_UP))
        # A worker survives the terminal in which it was started.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._stamp()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def request_stop(self, reason: str) -> None:
        """Request a stop after the current step; the first reason counts."""
        self.stop_reason = self.stop_reason or reason

    def note_progress(self) -> None:
        """Remember the current time as the time of the last progress."""
        self._progressed = time.time()

    def _run(self) -> None:
        stamped = time.monotonic()
        while not self._done.wait(STOP_POLL_SECONDS):
            with contextlib.suppress(OSError):  # the file system may be unreachable for a moment
                if (self.folder / STOP_FILE).exists():
                    self.request_stop(STOP_REQUEST)
            if time.monotonic() - stamped >= heartbeat.BEAT_SECONDS:
                stamped = time.monotonic()
                self._stamp()
                if self.slot:
                    self.slot.refresh()

    def _stamp(self) -> None:
        if not self.writes_stamps:
            return
        identity = heartbeat.process_identity()
        assert identity is not None
        worker = heartbeat.Worker(identity, alive=time.time(), progressed=self._progressed, device=self.device)
        with contextlib.suppress(OSError):  # on a full disk, the log reports the error
            heartbeat.write(self.folder, worker)


class _RunWorker:
    """The work of a worker, from waiting in the queue to the last event."""

    def __init__(self, options: argparse.Namespace, config: AnyRun, log: EventLog | None, beat: Heartbeat) -> None:
        """Prepare the work; `log` is None in all processes of a run but the one that writes its log."""
        self.options = options
        self.folder: Path = options.folder
        self.config = config
        self.log = log
        self.heartbeat = beat
        self.experiment: Experiment | None = None

    def run(self) -> int:
        """Wait for devices and carry out the run on them; return the exit code."""
        device_names = self._wait_for_devices()
        if not device_names:
            self._append(events.RunStopped(reason=self.heartbeat.stop_reason))
            return 0
        if len(device_names) > 1:
            return self._run_torchrun(device_names)
        prepare_torch(self.config, device_names[0])
        return self._carry_out(device_names[0])

    def run_guarded(self, work: Callable[[], int]) -> int:
        """Call `work` and return its exit code; log an exception as the run's last event."""
        try:
            return work()
        except Exception as error:
            problem, hint = explain(error, self.config)
            step = 0 if self.experiment is None else self.experiment.step
            self._log_failure(events.RunFailed(error=problem, hint=hint, step=step))
            with contextlib.suppress(OSError):  # worker.log may be on the full disk
                if not isinstance(error, UserError):
                    traceback.print_exc()
                print(f"{problem} {hint}", file=sys.stderr)
            return 1

    def run_rank(self, rank: int) -> int:
        """Carry out this process's share of a run of several processes, as number `rank`."""
        from dipddpm.core.compute import distributed
        from dipddpm.core.launch import torchrun

        torchrun.end_with_worker()
        device_names = self.options.member_of.split(",")
        threads = 0
        if device_names[rank] == "cpu":  # the processes share the CPU's cores
            threads = self.config.threads or max(1, len(os.sched_getaffinity(0)) // len(device_names))
        device = prepare_torch(msgspec.structs.replace(self.config, threads=threads), device_names[rank])
        with distributed.join_process_group(device):
            return self._carry_out(device_names[rank])

    def _run_torchrun(self, device_names: list[str]) -> int:
        """Run several processes under torchrun; rank 0 writes the log meanwhile."""
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
            # This file stopped the processes; it must not stop the requeued job as well.
            (self.folder / STOP_FILE).unlink(missing_ok=True)
            self._report_stop(self._append, final_summary.step, first_step)
        return 0 if code == 0 or self.heartbeat.stop_reason else 1

    def _append(self, event: events.Event) -> None:
        if self.log is not None:
            self.log.append(event)

    def _log_failure(self, event: events.RunFailed) -> None:
        try:
            self._append(event)
        except OSError:
            # On a full disk, delete the summary, which can be rebuilt, to make room for the event.
            with contextlib.suppress(OSError):
                (self.folder / SUMMARY_FILE).unlink(missing_ok=True)
                self._append(event)

    def _wait_for_devices(self) -> list[str]:
        """Wait for a slot and return a device for each process; return [] if the run is stopped while it waits."""
        usable = devices.candidates(self.config.device)
        if self.config.starts_others:
            return ["cpu"]
        process_count = self.config.processes if isinstance(self.config, configs.SharedRun) else 1
        count, processes_on_each = (1, process_count) if usable == ["cpu"] else (process_count, 1)
        if len(usable) < count:
            problem = f"The run needs {count} GPUs, but this machine has {len(usable)}."
            raise UserError(problem, f"Lower --gpus to {len(usable)}, or add --device cpu.")

        def report_queued(ahead: int) -> None:
            self._append(events.RunQueued(device=" or ".join(usable), ahead=ahead))

        report_queued(0)
        if self.options.now:
            return usable[:count] * processes_on_each
        try:
            # Open file descriptors hold the slots' locks until this process ends.
            slot = self.heartbeat.slot = queue.acquire(
                self.folder.name,
                usable,
                count,
                since=self.options.since,
                should_give_up=lambda: bool(self.heartbeat.stop_reason),
                on_position=report_queued,
            )
        except queue.QueueError as error:
            text = f"{error.problem} This run doesn't wait for other runs. {error.remedy}"
            self._append(events.Message(text=text, level="warning"))
            return usable[:count] * processes_on_each
        self.heartbeat.note_progress()
        return slot.devices * processes_on_each if slot else []

    def _carry_out(self, device_name: str) -> int:
        from dipddpm.core.launch.recorder import Recorder
        from dipddpm.core.runs.environment import collect

        began = time.monotonic()
        device = devices.resolve(device_name)
        self.heartbeat.device = device_name
        environment = collect(device_name, devices.describe(device), self.config.threads)
        if self.log is not None:
            atomic.write_atomic(self.folder / ENVIRONMENT_FILE, msgspec.json.format(msgspec.json.encode(environment)))
        target: object = device
        if self.config.starts_others:  # such a run computes nothing itself
            from dipddpm.core.study.stages import Launcher

            runs = RunsFolder(self.folder.parent)
            target = Launcher(runs, local.start, local.resume, local.stop, local.find_process, preflight.refuse_changed)
        experiment_class = registry.resolve(configs.experiment_path(self.config))
        with inputs.explain_missing(self.folder) if self.options.resume else contextlib.nullcontext():
            experiment = self.experiment = experiment_class.from_config(self.config, target)
        recorder = Recorder(self.folder, self.log, device)
        # A run that was killed before it began has no checkpoint to resume from.
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
            recorder.record(events.RunFinished(seconds=time.monotonic() - began, step=experiment.step))
        return 0

    def _report_stop(self, record: Callable[[events.Event], object], step: int, first_step: int) -> None:
        """Log that the run stopped, or that it waits again if Slurm is going to restart its job."""
        reason = self.heartbeat.stop_reason
        time_is_up = reason == TIME_IS_UP
        if self.options.job and reason != STOP_REQUEST and (time_is_up or slurm.was_requeued()):
            if time_is_up and step <= first_step:
                problem = "The run's job reached its time limit before it finished a step."
                raise UserError(problem, "Resume it with a longer limit, as in --on slurm:time=4:00:00.")
            record(events.Message(text=f"The job ends at step {step}; the run waits for Slurm to restart it"))
            record(events.RunQueued(device="Slurm"))
            if not time_is_up or submit.requeue():
                return
        record(events.RunStopped(reason=reason, step=step))

    def _iterate(self, experiment: Experiment, recorder: Recorder, device: torch.device) -> bool:
        """Record the experiment's items until it ends or is stopped; return whether it was stopped."""
        from dipddpm.core.compute.distributed import ProcessGroup

        process_group = ProcessGroup.current()
        policy = CheckpointPolicy(self.config, time.monotonic(), experiment.epoch)
        try:
            for item in experiment:
                recorder.record(item)
                policy.add(item)
                self.heartbeat.note_progress()
                if not isinstance(item, events.Step):  # the state is complete only after a Step
                    continue
                # Rank 0 decides for all ranks, because their clocks differ.
                due = self.log is not None and policy.is_due(time.monotonic(), experiment.epoch)
                stop, due = process_group.any_rank([bool(self.heartbeat.stop_reason), due], device)
                if stop:
                    return True  # this closes the iteration, and a run that starts others then stops them
                if due:
                    cost = recorder.checkpoint(experiment, required=False)
                    policy.add_stored(cost, time.monotonic(), experiment.epoch)
                else:
                    recorder.flush()
        except Exception:
            with contextlib.suppress(OSError):  # the first error is the one to report
                recorder.flush()
            raise
        return False


def prepare_torch(config: AnyRun, device_name: str) -> torch.device:
    """Load torch, set its threads, seed the global generators, and return the device."""
    import torch

    from dipddpm.core.compute import rng

    if config.threads:
        torch.set_num_threads(config.threads)
    rng.seed_all(config.seed)
    torch.set_flush_denormal(True)
    return devices.resolve(device_name)


if __name__ == "__main__":
    sys.exit(main())
