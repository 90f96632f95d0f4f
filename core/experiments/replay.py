"""What an experiment has already told, so that a resumed one goes on in the middle of a list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from dipddpm.core.events import Item


class ReplayCursor:
    """How many items of each list have been yielded. What a list holds must follow from the experiment's state."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def remaining(self, name: str, make: Callable[[], Sequence[Item]]) -> Iterator[Item]:
        """The items of a list that are still to be told; nothing is made where all were."""
        if self.counts.get(name) == -1:
            return
        for item in make()[self.counts.get(name, 0) :]:
            self.counts[name] = self.counts.get(name, 0) + 1
            yield item
        self.counts[name] = -1

    def reset(self, name: str) -> None:
        """Begin a list anew, for another step."""
        self.counts.pop(name, None)
