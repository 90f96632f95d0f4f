"""The methods of a map of gains: the hybrid, parts of it, and its baselines, each with several priors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dipddpm.core.config import MapRun, parse_task
from dipddpm.core.config.hybrid import Calibrated
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade.case import Case
from dipddpm.core.evaluation.gain_map import (
    DIP_AND_DIFFUSION,
    HYBRID,
    WITHOUT_DIFFUSION,
    WITHOUT_DIP,
    split,
    with_prior,
)
from dipddpm.core.evaluation.rows import DDPM_EQUAL, DDPM_MEAN, DIP_EQUAL, DIP_MEAN, POSTERIOR_MEAN
from dipddpm.core.experiments.restore.methods import Methods, Models
from dipddpm.core.methods.budget import Clock, Stopwatch, TimeBudget
from dipddpm.core.methods.calibrated.candidates import DIFFUSION, FIT
from dipddpm.core.methods.calibrated.parts import AllCandidates, PartOfCandidates
from dipddpm.core.methods.classical.table import CLASSICS

OF_DIFFUSION = (DDPM_MEAN, DDPM_EQUAL, POSTERIOR_MEAN)
"""The baselines with each prior."""
SHARED = (DIP_MEAN, DIP_EQUAL, "pinv", *CLASSICS)
"""The rows that need no prior, and so are run once for all of them."""
PARTS = (DIP_AND_DIFFUSION, WITHOUT_DIP, WITHOUT_DIFFUSION)
"""Means of some of the hybrid's candidates, which its one run gives, too."""


class MapMethods(Methods):
    """All methods of a map, by their names on the board: `calibrated with PRIOR`, `ddpm-mean with PRIOR`, `dip-mean`.

    A baseline gets the seconds of the hybrid with its own prior; DIP's are recorded at the seconds with each prior.
    """

    def __init__(self, config: MapRun, priors: Mapping[str, TrainedModel], clock: Clock) -> None:
        """Set up the rows; `priors` are the trained models by name, of which there is at least one."""
        first, *_ = priors.values()
        super().__init__(config.restore, first, config.dip, (), clock)
        self.priors = {name: Models(prior, config.dip) for name, prior in priors.items()}
        self.calibrated = Calibrated(trial_samples=config.map.trial_samples, samples=config.map.samples)
        # The hybrids come first, because the baselines get their seconds.
        own = [replace(self.rows[HYBRID], name=name) for name in (HYBRID, *PARTS)]
        own += [row for name, row in self.rows.items() if name in OF_DIFFUSION]
        shared = {name: row for name, row in self.rows.items() if name in SHARED}
        names = [(row, with_prior(row.name, prior)) for row in own for prior in priors]
        self.rows = {name: replace(row, name=name) for row, name in names} | shared
        self._runs: dict[str, tuple[Case, AllCandidates]] = {}
        """The last run of all candidates with each prior, and its case."""

    def for_task(self, task: str) -> list[str]:
        """Return the rows of a task, in order."""
        parsed = parse_task(task)
        return [name for name, row in self.rows.items() if row.restores(parsed) and not row.absence]

    def missing_reasons(self, task: str) -> dict[str, str]:
        """Return no reasons: a map has no rows that a reader misses."""
        del task
        return {}

    def is_baseline(self, method: str, hybrid: str) -> bool:
        """Return whether a row depends on a hybrid's seconds: DIP on that of each, others on that with their prior."""
        prior = split(method)[1]
        return not prior or prior == split(hybrid)[1]

    def begin(self, method: str, task: str, case: Case, budgets: Sequence[float]) -> Stopwatch | TimeBudget:
        """Start a row on a case; `budgets` are the seconds of the hybrids that it depends on."""
        name, prior = split(method)
        if prior:
            self.models = self.priors[prior]
        if name == HYBRID:
            return Stopwatch(lambda: self._run_all(case, prior), self.clock)
        if name in PARTS:
            return Stopwatch(lambda: self._part(name, case, prior, sum(budgets)), self.clock)
        return super().begin(method, task, case, budgets)

    def _run_all(self, case: Case, prior: str) -> AllCandidates:
        models = self.priors[prior]
        self._runs[prior] = case, AllCandidates(case, models.prior, self.calibrated, models.dip)
        return self._runs[prior][1]

    def _part(self, name: str, case: Case, prior: str, seconds: float) -> PartOfCandidates:
        last, whole = self._runs.get(prior, (None, None))
        if whole is None or last is None or not last.y.equal(case.y):  # as after a resume
            whole, seconds = self._run_all(case, prior), 0.0
        left_out = {WITHOUT_DIP: FIT, WITHOUT_DIFFUSION: DIFFUSION}.get(name)
        kinds = [DIFFUSION, FIT] if left_out is None else [kind for kind in whole.kinds if kind != left_out]
        return PartOfCandidates(whole, kinds, seconds)
