"""What an experiment is: something that one iterates, that yields events and payloads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

from dipddpm.core.events.event import Event, RunStarted
from dipddpm.core.events.payload import Payload, StateDict

Item: TypeAlias = Event | Payload


class Experiment(Protocol):
    """What the worker carries out, and what a notebook can iterate over just the same.

    Opens no file and prints nothing. A state is stored only after a `Step`: what belongs to a step is yielded before
    its `Step`, so that nothing needs to count what it has already yielded. What comes before the first step is yielded
    if and only if nothing has been done yet (`step == 0`). What comes at the end is yielded before the last `Step`,
    and nothing follows that: a run that is killed there repeats its end from the last checkpoint, from where on the
    log is void. After `load_state_dict` the iteration goes on to the same numbers as if it had never stopped; from the
    last step's state there is nothing more to yield.
    """

    @property
    def network(self) -> Any:
        """The network being fitted (kept with each checkpoint), or None."""
        ...

    @property
    def step(self) -> int:
        """Steps done. One count for the whole run: it never goes back, also when one phase follows another."""
        ...

    @property
    def epoch(self) -> int:
        """Epochs finished; 0 for what has none."""
        ...

    def started(self) -> RunStarted:
        """Totals and sizes, known before the first step."""
        ...

    def __iter__(self) -> Iterator[Item]: ...

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid after a `Step`."""
        ...

    def load_state_dict(self, state: StateDict) -> None:
        """The inverse of `state_dict`."""
        ...
