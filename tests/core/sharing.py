"""Work shared by two processes, each of which runs `python -m tests.core.sharing RANK STORE PRIOR`.

Every image has its own random draws, so one process would get the same results, except where the clock matters.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist

from dipddpm.core import config as configs
from dipddpm.core.compute.distributed import ProcessGroup
from dipddpm.core.config import DipRun, RestoreRun
from dipddpm.core.events import EarlyStopped, Item, RestorationScored, StateDict, Step
from dipddpm.core.experiments.dip import DipExperiment
from dipddpm.core.experiments.restore import experiment as run
from dipddpm.core.experiments.restore.experiment import RestoreExperiment
from tests.core.steps import until_step

RANKS = 2
DIP = {
    "data.dataset": "fashion-mini",
    "images.indices": "0-2",
    "dip.iterations": 12,
    "dip.channels": 4,
    "dip.input_channels": 4,
    "dip.stop": "variance",
    "dip.window": 3,
    "dip.patience": 3,
    "dip.measure_every": 4,
    "dip.picture_every": 6,
    "dip.batch": 1,
}
RESTORE = {
    "restore.tasks": ("inpaint:missing=0.5,sigma=10",),
    "restore.sets": ("glyphs",),
    "restore.methods": ("prior-init",),
    "restore.images": 1,
    "restore.seeds": 2,
    "dip.iterations": 4,
    "dip.channels": 4,
    "dip.stop": "never",
}


def dip(**settings: Any) -> DipExperiment:
    """Return an experiment on three images, each fitted by its own network."""
    config = configs.build("dip", settings=DIP | {key.replace("__", "."): value for key, value in settings.items()})
    return DipExperiment.from_config(cast(DipRun, config), "cpu")


def restore(prior: str) -> RestoreExperiment:
    """Return an experiment on one set of images that is degraded twice."""
    config = configs.build("restore", settings=RESTORE | {"prior.run": prior})
    return RestoreExperiment.from_config(cast(RestoreRun, config), "cpu")


def join(rank: int, store: str) -> None:
    """Join the group of two processes with this rank."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=RANKS)


def carry_out(prior: str) -> dict[str, Any]:
    """Run the shared work on both ranks; rank 0 returns the items of each experiment and a state from its middle."""
    ranks, results = ProcessGroup.current(), dict[str, Any]()
    value = {"rank": ranks.rank, "loss": float("inf"), "images": [torch.full((ranks.rank + 1,), 0.5)]}
    results["gathered"], results["collected"] = (
        ranks.gather(value, to_all=True),
        ranks.gather({ranks.rank: "part"}, to_all=False),
    )
    results["any"] = ranks.any_rank([ranks.rank == 1, False], torch.device("cpu"))
    first = dip()
    results["dip before"] = before = until_step(first, 6)
    results["dip state"] = state = first.state_dict()
    results["dip"] = [*before, *first]
    results["dip alone"] = len(first.fit.indices)
    if (state_of_first := ranks.gather(state if ranks.rank == 0 else None, to_all=True)[0]) is not None:
        again = dip()
        again.load_state_dict(state_of_first)
        results["dip resumed"] = [*before, *again]
    whole = restore(prior)
    sync_seconds, run.SYNC_SECONDS = run.SYNC_SECONDS, 0.0  # the ranks sync after each item, so both are in the middle
    results["restore before"], results["restore state"] = until_both_work(whole, ranks)
    run.SYNC_SECONDS = sync_seconds
    results["restore"] = [*results["restore before"], *whole]
    return results


def until_both_work(experiment: RestoreExperiment, ranks: ProcessGroup) -> tuple[list[Item], StateDict]:
    """Return the items up to a step after the first score at which both ranks are amid a job, and its state.

    The clock decides how many steps that takes.
    """
    items = list[Item]()
    for item in experiment:
        items.append(item)
        if isinstance(item, Step) and any(isinstance(each, RestorationScored) for each in items):
            state = experiment.state_dict()
            busy = [bool(job["work"]) for job in state["begun"].values()] == [True] * RANKS  # as rank 0 knows it
            if ranks.gather(busy, to_all=True)[0]:
                return items, state
    raise AssertionError("no step found both ranks amid a job")


def stops(items: list[Item]) -> list[EarlyStopped]:
    """Return the early stops among the items."""
    return [item for item in items if isinstance(item, EarlyStopped)]


if __name__ == "__main__":
    join(int(sys.argv[1]), sys.argv[2])
    carry_out(str(Path(sys.argv[3])))
    dist.destroy_process_group()
