"""The figures of many kills: how many of what, and what they cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import median

from dipddpm.core.events import CheckpointStored, EpochFinished, Event, RunResumed, RunStarted
from dipddpm.core.runs import EventReader, Run, voids

CHEAP_SHARE = 0.015
"""Largest share of its time at which an epoch counts as cheap to store: a bit less than the policy's 2%, because the
seconds in the log lack the writing of that line."""


@dataclass
class Tally:
    """Counts of kills and of the problems that they caused."""

    kills: Counter[str] = field(default_factory=Counter)
    """Kills by case."""
    moments: Counter[str] = field(default_factory=Counter)
    """Kills by the moment that the killer waited for."""
    hits: Counter[str] = field(default_factory=Counter)
    """Kills by the worker's activity, as far as its files show it."""
    runs: int = 0
    best_ahead: int = 0
    """Best models on disk that were not in the log yet."""
    epochs: int = 0
    """Epochs whose end was in the log when a worker was killed."""
    costly: list[float] = field(default_factory=list)
    """For each epoch that had to be trained again because a checkpoint was too costly: its cost, as a share of the time
    since the one before."""
    unsaved: list[float] = field(default_factory=list)
    """Seconds from the last checkpoint, or else the start, to the last line of a killed worker."""
    problems: dict[str, list[str]] = field(
        default_factory=lambda: {"unreadable": [], "lost": [], "lost epochs": [], "inexact": []}
    )

    def add_problem(self, kind: str, text: str) -> None:
        """Record a violated guarantee."""
        self.problems[kind].append(text)

    def lines(self) -> list[str]:
        """Return the figures as lines of text."""
        counted = {"kills of": self.kills, "waited for": self.moments, "hit": self.hits}
        return [
            f"{sum(self.kills.values())} kills of {self.runs} runs",
            *(
                f"  {what}: {', '.join(f'{name} {count}' for name, count in counts.most_common())}"
                for what, counts in counted.items()
                if counts
            ),
            f"  best model newer than its line: {self.best_ahead}",
            f"  epochs in the log: {self.epochs}, of them trained again: {len(self.costly)} that were costly to store "
            f"(from {min(self.costly, default=0):.1%} of their time on), {len(self.problems['lost epochs'])} others",
            f"  seconds of work to do again: {max(self.unsaved, default=0):.1f} at most, "
            f"{median(self.unsaved or [0]):.1f} in the middle",
            "  " + ", ".join(f"{what}: {len(problems)}" for what, problems in self.problems.items()),
        ]


def count_lost_epochs(run: Run, tally: Tally, case: str) -> None:
    """Count the epochs in the log that were trained again, although or because of what their checkpoint would cost."""
    valid: list[Event] = []
    for event in EventReader(run.folder).read():
        if isinstance(event, RunResumed):
            before, valid = valid, [past for past in valid if not voids(event, past)]
            tally.epochs += sum(isinstance(past, EpochFinished) for past in before)
            stored_at = [past.time for past in valid if isinstance(past, RunStarted | CheckpointStored)]
            tally.unsaved.append(max(past.time for past in before) - max(stored_at, default=event.time))
            for past in before:
                if isinstance(past, EpochFinished) and voids(event, past) and past.step > event.from_step:
                    share = _cost(past, before)
                    if share < CHEAP_SHARE:
                        tally.add_problem("lost epochs", f"{case}, {run.id}: epoch {past.epoch}, cost {share:.2%}")
                    else:
                        tally.costly.append(share)
        valid.append(event)


def _cost(epoch: Event, recorded: list[Event]) -> float:
    """Return what the checkpoint before this epoch's end cost, as a share of the time since then; 0 without one."""
    stored = [event for event in recorded if isinstance(event, CheckpointStored) and event.offset < epoch.offset]
    return stored[-1].seconds / max(epoch.time - stored[-1].time, 1e-9) if stored else 0.0
