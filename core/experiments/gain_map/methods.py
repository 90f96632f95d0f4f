"""The methods of a map of gains: the hybrid, its control without DIP, and its baselines, each with several priors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import msgspec

from dipddpm.core.config import MapRun, parse_task
from dipddpm.core.config.hybrid import Calibrated
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade.case import Case
from dipddpm.core.evaluation.gain_map import HYBRID, WITHOUT_DIP, with_prior, without_prior
from dipddpm.core.evaluation.rows import DIP_EQUAL, DIP_MEAN
from dipddpm.core.experiments.restore.methods import Methods, Models
from dipddpm.core.methods.base import Restorer
from dipddpm.core.methods.budget import Clock, Stopwatch, TimeBudget
from dipddpm.core.methods.calibrated.method import CalibratedRestorer

OF_DIP = (DIP_MEAN, DIP_EQUAL)
"""The baselines that need no prior, and so are run once for all of them."""


class MapMethods(Methods):
    """All methods of a map, by their names on the board: `calibrated with PRIOR`, `ddpm-mean with PRIOR`, `dip-mean`.

    A baseline gets the seconds of the hybrid with its own prior; DIP's are recorded at the seconds with each prior.
    """

    def __init__(self, config: MapRun, priors: Mapping[str, TrainedModel], clock: Clock) -> None:
        """Set up the rows; `priors` are the trained models by name, of which there is at least one."""
        first, *_ = priors.values()
        super().__init__(msgspec.structs.replace(config.restore, controls=False), first, config.dip, (), clock)
        self.config = config
        self.priors = {name: Models(prior, config.dip) for name, prior in priors.items()}
        shared = {name: row for name, row in self.rows.items() if name in OF_DIP}
        hybrid = replace(self.rows[HYBRID], make=partial(self._calibrated, True))
        own = [hybrid]
        if config.restore.controls:
            own.append(replace(hybrid, name=WITHOUT_DIP, make=partial(self._calibrated, False)))
        own += [row for name, row in self.rows.items() if name not in (*OF_DIP, HYBRID)]
        # All hybrids come first, because the baselines get their seconds.
        self.rows = {
            with_prior(row.name, prior): replace(row, name=with_prior(row.name, prior))
            for row in own
            for prior in priors
        } | shared

    def for_task(self, task: str) -> list[str]:
        """Return the rows of a task, in order."""
        parsed = parse_task(task)
        return [name for name, row in self.rows.items() if row.restores(parsed)]

    def missing_reasons(self, task: str) -> dict[str, str]:
        """Return no reasons: a map has no rows that a reader misses."""
        del task
        return {}

    def is_baseline(self, method: str, hybrid: str) -> bool:
        """Return whether a baseline gets the time of a hybrid: DIP that of each, diffusion that with its own prior."""
        prior = without_prior(method)[1]
        return not prior or prior == without_prior(hybrid)[1]

    def begin(self, method: str, task: str, case: Case, budgets: Sequence[float]) -> Stopwatch | TimeBudget:
        """Start a row on a case; `budgets` are the seconds of the hybrids that it is a baseline of."""
        prior = without_prior(method)[1]
        if prior:
            self.models = self.priors[prior]
        return super().begin(method, task, case, budgets)

    def _calibrated(self, with_dip: bool, models: Models, case: Case, count: int) -> Restorer:
        del count
        chosen = self.config.map
        options = Calibrated(trial_samples=chosen.trial_samples, samples=chosen.samples, with_dip=with_dip)
        return CalibratedRestorer(case, models.prior, options, models.dip)
