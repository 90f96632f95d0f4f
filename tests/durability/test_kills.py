"""Kill any worker at any moment: nothing that was told is lost, and resumed it ends as if nothing had happened.

`DIPDDPM_KILLS` says how many kills the cases share, `DIPDDPM_KILLS_SEED` which ones: the seed is told at the end.
"""

from __future__ import annotations

import os
import secrets
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from dipddpm.core.launch import local
from dipddpm.core.runs import Run, RunsFolder, RunState
from tests.durability import cases
from tests.durability.conftest import REPORT
from tests.durability.killing import Killer, Tally, differences, forking, kill_stages, until

KILLS = int(os.environ.get("DIPDDPM_KILLS", "200"))
SEED = os.environ.get("DIPDDPM_KILLS_SEED") or secrets.token_hex(4)
FEW = {"ddpm unet": 5, "dip": 5}
"""The kills of the default tests."""

Kill = Callable[..., None]


@pytest.fixture(scope="module")
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """What all kills came to, told at the end."""
    tally = Tally()
    yield tally
    request.config.stash.setdefault(REPORT, []).extend([f"DIPDDPM_KILLS_SEED={SEED}", *tally.lines()])


@pytest.fixture(scope="module")
def forked() -> Iterator[Any]:
    """What most workers are forked from."""
    with forking() as forked:
        yield forked


@pytest.fixture(scope="module")
def prior_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Run]:
    """The run that hybrids take their prior from, made when one asks for it."""
    made: list[Run] = []

    def prior() -> Run:
        if not made:
            from dipddpm.core import config as configs

            run = RunsFolder(tmp_path_factory.mktemp("prior")).create(configs.build("ddpm", settings=cases.PRIOR))
            local.start(run, now=True)
            until(lambda: not run.status().state.live)
            assert run.status().state is RunState.finished
            made.append(run)
        return made[0]

    return prior


@pytest.fixture
def kill(runs: RunsFolder, forked: Any, tally: Tally, prior_of: Callable[[], Run]) -> Kill:
    """Kill so many workers of a case."""

    def strike(case: str, kills: int, *, forked_reference: bool = True) -> None:
        before = {what: len(found) for what, found in tally.problems.items()}
        killer = Killer(case, runs, forked, tally, Random(zlib.crc32(f"{SEED} {case}".encode())))
        needs = "prior" if cases.CASES[case]["kind"] in {"hybrid", "restore"} else ""
        config = cases.build(case, prior_of() if needs else Run(runs.root))
        reference = killer.undisturbed(config, forked=forked_reference)
        killer.kill(config, reference, kills)
        fresh = {what: found[before[what] :] for what, found in tally.problems.items()}
        assert fresh == {"unreadable": [], "lost": [], "inexact": []}, f"with DIPDDPM_KILLS_SEED={SEED}"

    return strike


def share_of(case: str) -> int:
    """How many of all kills are a case's."""
    every = [*cases.CASES, "study"]
    share, rest = divmod(KILLS, len(every))
    return share + (every.index(case) < rest)


@pytest.mark.durability
@pytest.mark.parametrize("case", cases.CASES)
def test_run_killed_at_any_moment_resumes_exactly(case: str, kill: Kill) -> None:
    # For once, what forked workers do is compared with what one does that isn't.
    kill(case, share_of(case), forked_reference=case != "ddpm unet")


@pytest.mark.durability
def test_study_killed_at_any_moment_resumes_exactly(
    tmp_path: Path, runs: RunsFolder, forked: Any, tally: Tally, prior_of: Callable[[], Run]
) -> None:
    config = cases.study(prior_of())
    undisturbed = RunsFolder(tmp_path / "undisturbed")
    before = {what: len(found) for what, found in tally.problems.items()}
    Killer("study", undisturbed, forked, tally, Random(0)).undisturbed(config, forked=True)
    kill_stages(runs, config, share_of("study"), tally, Random(f"{SEED} study"))
    by_stage = [{run.config().name: run for run in place.runs()} for place in (undisturbed, runs)]
    assert len(by_stage[1]) == len(runs.runs()), "no stage is made twice"
    assert by_stage[0].keys() == by_stage[1].keys()
    for name, reference in by_stage[0].items():
        if reference.config().kind != "study":
            assert differences(by_stage[1][name], reference) == [], name
    assert before == {what: len(found) for what, found in tally.problems.items()}


@pytest.mark.slow
@pytest.mark.parametrize("case", FEW)
def test_run_killed_few_times_resumes_exactly(case: str, kill: Kill) -> None:
    kill(case, FEW[case])
