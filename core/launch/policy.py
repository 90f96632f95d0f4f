"""The decision when to store a checkpoint: so often that a kill costs little work, so seldom that it costs little time.

By default a checkpoint is stored

- after the first step, which shows what a checkpoint costs, and after the first epoch;
- after every epoch, if it costs at most `EPOCH_SHARE` of the time since the last one;
- with every result that the log states (a best model, a stage, a score), if it costs at most `MOST_SHARE` of that time;
- in between, when `GROWTH` of the work so far isn't stored, and at least every `checkpoint_seconds`, at the same price.

A checkpoint is expected to cost as much as the cheaper of the last two, so a single slow one doesn't delay the next
ones; the second one is stored after `checkpoint_seconds` at the latest. All checkpoints of a process take at most
`MOST_SHARE` of its time, besides the most expensive one, the last one and the one before the first epoch's. On a slow
disk they become rarer by themselves. What the user asks for is stored whatever it costs.
"""

from __future__ import annotations

from dipddpm.core import events
from dipddpm.core.config.run import CHECKPOINT_SECONDS, RunConfig
from dipddpm.core.events import Item

EPOCH_SHARE = 0.02
MOST_SHARE = 0.05
GROWTH = 0.1
RESULTS = (
    events.BestModel,
    events.Document,
    events.EarlyStopped,
    events.Message,
    events.RestorationMissing,
    events.RestorationScored,
    events.SamplesEvaluated,
    events.StageStarted,
    events.Tensors,
)
"""Items after which a checkpoint is worth more."""


class CheckpointPolicy:
    """The times and costs of the checkpoints that this process has stored; all times are those of one clock.

    `config` holds the user's settings; `now` and `epoch` are the time and the finished epochs at the start.
    """

    def __init__(self, config: RunConfig, now: float, epoch: int) -> None:
        self.seconds = config.checkpoint_seconds
        self.epochs = config.checkpoint_epochs
        self._is_default = config.checkpoint_seconds == CHECKPOINT_SECONDS
        self._began = self._stored_at = now
        self._first_epoch = self._stored_epoch = epoch
        self._last_costs: list[float] = []
        """Seconds that the last two checkpoints took."""
        self._total_cost = self._largest_cost = 0.0
        self._has_result = False

    def add(self, item: Item) -> None:
        """Remember whether the run has had a result since the last checkpoint."""
        self._has_result = self._has_result or isinstance(item, RESULTS)

    def is_due(self, now: float, epoch: int) -> bool:
        """Return whether to store a checkpoint now, after a `Step`."""
        since = now - self._stored_at
        if not self._last_costs or 0 < self.epochs <= epoch - self._stored_epoch:
            return True
        is_late, ends_first = since >= self.seconds, epoch > self._first_epoch == self._stored_epoch
        if ends_first or (is_late and not self._is_default):
            return True
        if is_late and len(self._last_costs) == 1:
            return True
        expected = min(self._last_costs)
        work = now - self._began - self._total_cost
        if expected > MOST_SHARE * since or self._total_cost - self._largest_cost > MOST_SHARE * work:
            return False
        if is_late or self._has_result or since >= GROWTH * (now - self._began):
            return True
        return epoch > self._stored_epoch and expected <= EPOCH_SHARE * since

    def add_stored(self, cost: float, now: float, epoch: int) -> None:
        """Remember a checkpoint that was stored, or tried, up to now, and its cost in seconds."""
        self._last_costs = [*self._last_costs[-1:], cost]
        self._total_cost += cost
        self._largest_cost = max(self._largest_cost, cost)
        self._stored_at = now
        self._stored_epoch, self._has_result = epoch, False
