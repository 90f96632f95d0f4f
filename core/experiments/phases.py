"""Phases of a run, one after the other, with one count of steps and one state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from dipddpm.core.events import Item, StateDict
from dipddpm.core.methods.base import shift_step


class Phase(Protocol):
    """A part of a run that counts its own steps from 0, and may end before it has taken all that were planned.

    What follows its last `Step` belongs to the next phase's first one, so it must follow from the state alone.
    """

    @property
    def step(self) -> int:
        """Steps done."""
        ...

    def __len__(self) -> int:
        """Steps planned, known from the beginning."""
        ...

    def __iter__(self) -> Iterator[Item]: ...

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid after a `Step`."""
        ...

    def load_state_dict(self, state: StateDict) -> None:
        """The inverse of `state_dict`."""
        ...


class Phases:
    """Carry out phases in a row; a phase that has ended counts as many steps as were planned for it."""

    def __init__(self, phases: Sequence[Phase]) -> None:
        self.phases = phases
        self.index = 0
        """The phase under way; the number of phases once all have ended."""

    @property
    def finished(self) -> bool:
        """Whether all phases have ended."""
        return self.index == len(self.phases)

    @property
    def step(self) -> int:
        """Steps done in all phases together."""
        return self._offset + (0 if self.finished else self.phases[self.index].step)

    def __len__(self) -> int:
        return sum(map(len, self.phases))

    def __iter__(self) -> Iterator[Item]:
        while not self.finished:
            offset = self._offset
            for item in self.phases[self.index]:
                yield shift_step(item, offset)
            self.index += 1

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid after a `Step`."""
        return {"index": self.index, "phases": [phase.state_dict() for phase in self.phases]}

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from where `state_dict` was called; a phase may need the results of those before it."""
        self.index = state["index"]
        for phase, its_state in zip(self.phases, state["phases"], strict=True):
            phase.load_state_dict(its_state)

    @property
    def _offset(self) -> int:
        """Steps of the phases that have ended."""
        return sum(map(len, self.phases[: self.index]))
