"""One process = one run: config in, events out. Started by `core.launch` as `python -m core.worker FOLDER`.

Nothing heavy is loaded before the run has its slot, so that a queue of waiting workers costs little.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import re
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from core import cluster, devices, events, files, registry, slots
from core import config as configs
from core.errors import UserError
from core.runs import (
    ENVIRONMENT_FILE,
    STOP_FILE,
    STOP_REQUEST,
    SUMMARY_FILE,
    EventLog,
    Run,
    RunsFolder,
    State,
    life,
    summary,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from core.config import AnyRun
    from core.events import Experiment
    from core.recorder import Onlooker, Recorder

STOP_POLL_SECONDS = 0.5
TIME_IS_UP = "its job's time is up"
LOCK_SECONDS = 2.0
BEREFT = (
    "One of the processes that shared this run has ended.",
    "See worker.log, then resume the run: it goes on from its last checkpoint.",
)


def main(arguments: list[str] | None = None) -> int:
    """Carry out the run of a folder; the exit code is 0 for done or stopped, 1 for failed, 2 for refused."""
    parser = argparse.ArgumentParser(prog="core.worker")
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
    if options.member_of:
        return _member(options.folder, config, options.member_of.split(","), resume=options.resume)
    try:
        log = EventLog(options.folder, patience=LOCK_SECONDS)
    except (UserError, OSError) as error:
        print(*explain(error, config), file=sys.stderr)
        return 2
    for place in (options.folder, options.folder / "checkpoints", options.folder / "images"):
        files.sweep(place)
    with contextlib.closing(log), Pulse(options.folder) as pulse:
        return _Job(options.folder, config, log, pulse).run(options)


def _member(folder: Path, config: AnyRun, names: list[str], *, resume: bool) -> int:
    """Be one of several processes that share a run; the first one records it."""
    from core import parallel

    place = parallel.local_rank()
    with contextlib.ExitStack() as stack:
        pulse = stack.enter_context(Pulse(folder, stamps=False))
        log = stack.enter_context(contextlib.closing(EventLog(folder, patience=LOCK_SECONDS))) if not place else None
        job = _Job(folder, config, log, pulse)
        return job.guarded(lambda: job.share(names, place, resume=resume))


class Pulse:
    """A thread that stamps worker.json, and the wish to stop, which comes as a signal or as a file in the folder."""

    def __init__(self, folder: Path, *, stamps: bool = True) -> None:
        self.folder = folder
        self.stamps = stamps
        self.stop_reason = ""
        self.device = ""
        self._progressed = time.time()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)

    def __enter__(self) -> Pulse:
        signal.signal(signal.SIGTERM, lambda *_: self.wish_to_stop("SIGTERM"))
        signal.signal(signal.SIGINT, lambda *_: self.wish_to_stop("SIGINT"))
        # What submitit has Slurm send to a job some time before its end.
        signal.signal(signal.SIGUSR2, lambda *_: self.wish_to_stop(TIME_IS_UP))
        # A worker outlives the terminal that it was started from.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._stamp()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def wish_to_stop(self, reason: str) -> None:
        """Ask for an end after the present step."""
        self.stop_reason = self.stop_reason or reason

    def advance(self) -> None:
        """Note that the work got on."""
        self._progressed = time.time()

    def _beat(self) -> None:
        stamped = time.monotonic()
        while not self._done.wait(STOP_POLL_SECONDS):
            with contextlib.suppress(OSError):  # a file system that is gone for a moment asks for nothing
                if (self.folder / STOP_FILE).exists():
                    self.wish_to_stop(STOP_REQUEST)
            if time.monotonic() - stamped >= life.BEAT_SECONDS:
                stamped = time.monotonic()
                self._stamp()

    def _stamp(self) -> None:
        if not self.stamps:
            return
        identity = life.identity()
        assert identity is not None
        worker = life.Worker(identity, alive=time.time(), progressed=self._progressed, device=self.device)
        with contextlib.suppress(OSError):  # a full disk is the log's to report, not the pulse's
            life.write(self.folder, worker)


class _Job:
    """The work itself, from waiting in the queue to the last event."""

    def __init__(self, folder: Path, config: AnyRun, log: EventLog | None, pulse: Pulse) -> None:
        """Without a log it is another process that records."""
        self.folder = folder
        self.config = config
        self.log = log
        self.pulse = pulse
        self.began = time.monotonic()
        self.experiment: Experiment | None = None
        self.is_job = False

    def run(self, options: argparse.Namespace) -> int:
        """Wait for what it needs, and do it."""
        self.is_job = options.job

        def work() -> int:
            found = self._wait_for_devices(options)
            if not found:
                self._append(events.RunStopped(reason=self.pulse.stop_reason))
                return 0
            if self.config.shared_by > 1:
                return self._lead(found, resume=options.resume)
            prepare_torch(self.config, found[0])
            return self._carry_out(found[0], resume=options.resume)

        return self.guarded(work)

    def guarded(self, work: Callable[[], int]) -> int:
        """Do the work; what goes wrong is the run's last event."""
        try:
            return work()
        except Exception as error:
            problem, hint = explain(error, self.config)
            self._last_word(events.RunFailed(error=problem, hint=hint, step=self._step))
            with contextlib.suppress(OSError):  # worker.log may lie on the disk that is full
                if not isinstance(error, UserError):
                    traceback.print_exc()
                print(f"{problem} {hint}", file=sys.stderr)
            return 1

    def share(self, names: list[str], place: int, *, resume: bool) -> int:
        """Do this process's part of a run that several share, of which it is number `place`."""
        from core import parallel, team

        team.die_with_parent()
        threads = 0 if names[place] != "cpu" else self.config.threads or team.threads_of(len(names))
        device = prepare_torch(msgspec.structs.replace(self.config, threads=threads), names[place])
        with parallel.joined(device):
            return self._carry_out(names[place], resume=resume)

    def _lead(self, names: list[str], *, resume: bool) -> int:
        """Have several processes do it, the first of which takes the log over."""
        from core import team

        assert self.log is not None
        self.pulse.device = ",".join(names)
        begun = summary.read(self.folder).step
        self.log.close()
        code = team.lead(
            self.folder, names, resume=resume, wish=lambda: self.pulse.stop_reason, advance=self.pulse.advance
        )
        self.log = EventLog(self.folder, patience=LOCK_SECONDS)
        told = summary.rebuild(self.folder)
        if told.phase.live:
            raise UserError(*BEREFT)
        if self.is_job and told.phase is State.stopped and self.pulse.stop_reason != STOP_REQUEST:
            # The processes were asked by the file, which the job that goes on must not find.
            (self.folder / STOP_FILE).unlink(missing_ok=True)
            self._leave(self._append, told.step, begun)
        return 0 if code == 0 or self.pulse.stop_reason else 1

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

    @property
    def _step(self) -> int:
        return self.experiment.step if self.experiment else 0

    def _wait_for_devices(self, options: argparse.Namespace) -> list[str]:
        """A device for each process, which on the CPU all share; none if it is to stop before there are."""
        usable = devices.candidates(self.config.device)
        if self.config.starts_others:
            return ["cpu"]
        many, together = self.config.shared_by, usable == ["cpu"]
        if len(usable) < many and not together:
            problem = f"This machine has {len(usable)} GPUs for {many} processes."
            raise UserError(problem, f"Lower --gpus to {len(usable)}, or add --device cpu.")

        def tell(ahead: int) -> None:
            self._append(events.RunQueued(device=" or ".join(usable), ahead=ahead))

        tell(0)
        if options.now:
            return usable * many if together else usable[:many]

        def given_up() -> bool:
            self.pulse.advance()
            return bool(self.pulse.stop_reason)

        # The slots' locks are kept by their descriptors until this process ends.
        count = 1 if together else many
        slot = slots.acquire(self.folder.name, usable, count, since=options.since, given_up=given_up, ahead=tell)
        if slot is None:
            return []
        return slot.devices * many if together else slot.devices

    def _carry_out(self, device_name: str, *, resume: bool) -> int:
        from core.environment import collect
        from core.recorder import Onlooker, Recorder

        device = devices.resolve(device_name)
        self.pulse.device = device_name
        environment = collect(device_name, devices.describe(device), self.config.threads)
        if self.log is not None:
            files.replace(self.folder / ENVIRONMENT_FILE, msgspec.json.format(msgspec.json.encode(environment)))
        # What starts other runs is told where they go, and not what to work on.
        place = RunsFolder(self.folder.parent) if self.config.starts_others else device
        experiment = self.experiment = registry.resolve(configs.experiment_path(self.config)).from_config(
            self.config, place
        )
        recorder = Onlooker(self.folder, device) if self.log is None else Recorder(self.folder, self.log, device)
        # A run that was killed before it began has nothing to go on from.
        if resume and recorder.summary.started:
            recorder.go_on(experiment)
        else:
            recorder.record(
                msgspec.structs.replace(experiment.started(), device=device_name, device_name=environment.device_name)
            )
        begun = experiment.step
        stopped = self._iterate(experiment, recorder, device)
        recorder.checkpoint(experiment)
        if stopped:
            self._leave(recorder.record, experiment.step, begun)
        else:
            recorder.record(events.RunFinished(seconds=time.monotonic() - self.began, step=experiment.step))
        return 0

    def _leave(self, record: Callable[[events.Event], object], step: int, begun: int) -> None:
        """Tell of a stop before the end; of a job that Slurm starts again, that it waits."""
        reason = self.pulse.stop_reason
        up = reason == TIME_IS_UP
        if self.is_job and reason != STOP_REQUEST and (up or cluster.comes_again()):
            if up and step <= begun:
                problem = "The time of the run's job was up before it got on."
                raise UserError(problem, "Resume it with more time, as --on slurm:time=4:00:00.")
            record(
                events.Message(text=f"Leaves the cluster to others at step {step}, and waits to go on", level="info")
            )
            record(events.RunQueued(device="Slurm"))
            if not up or cluster.requeue():
                return
        record(events.RunStopped(reason=reason, step=step))

    def _iterate(self, experiment: Experiment, recorder: Recorder | Onlooker, device: torch.device) -> bool:
        """Whether it was stopped before its end."""
        from core.parallel import Ranks

        ranks = Ranks.here()
        saved, saved_epoch = time.monotonic(), experiment.epoch
        for item in experiment:
            recorder.record(item)
            self.pulse.advance()
            due = (
                time.monotonic() - saved >= self.config.checkpoint_seconds
                or 0 < self.config.checkpoint_epochs <= experiment.epoch - saved_epoch
            )
            stop, due = ranks.any([bool(self.pulse.stop_reason), due], device)
            if stop:
                return True  # which closes the iteration: what starts other runs stops them then
            if due:
                recorder.checkpoint(experiment)
                saved, saved_epoch = time.monotonic(), experiment.epoch
        return False


def prepare_torch(config: AnyRun, device_name: str) -> torch.device:
    """Load torch, seed the generators that all code shares and set its threads."""
    import torch

    from core import generators

    if config.threads:
        torch.set_num_threads(config.threads)
    generators.seed(config.seed)
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
        return BEREFT
    first_line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line}", "The whole traceback is in worker.log; please report it."


if __name__ == "__main__":
    sys.exit(main())
