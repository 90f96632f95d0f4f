"""Tests that kill any worker at any moment: no logged event is lost, and the resumed run ends like an undisturbed one.

The runs have the default settings of checkpoints. `DIPDDPM_KILLS` is the number of kills that the cases share.
`DIPDDPM_KILLS_SEED` determines their moments; the report at the end shows it. `DIPDDPM_KILLS_SLICE=2/6` kills only the
second of six parts of the cases, which shortens the wait: six such runs make up the whole.
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
from tests.durability.killing import Killer, differences, forking, kill_stages, until
from tests.durability.tally import Tally, count_lost_epochs

KILLS = int(os.environ.get("DIPDDPM_KILLS", "200"))
SEED = os.environ.get("DIPDDPM_KILLS_SEED") or secrets.token_hex(4)
SLICE, SLICES = map(int, os.environ.get("DIPDDPM_KILLS_SLICE", "1/1").split("/"))
FEW = {"ddpm long": 2, "ddpm unet": 4, "dip": 4, "image": 4}
"""The number of kills by case in the default suite."""

Kill = Callable[..., None]


@pytest.fixture(scope="module")
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """Return the tally of all kills, which is reported at the end."""
    tally = Tally()
    yield tally
    request.config.stash.setdefault(REPORT, []).extend([f"DIPDDPM_KILLS_SEED={SEED}", *tally.lines()])


@pytest.fixture(scope="module")
def forked() -> Iterator[Any]:
    """Start the process that most workers are forked from."""
    with forking() as forked:
        yield forked


@pytest.fixture(scope="module")
def prior_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Run]:
    """Return a function that returns the run of the hybrids' prior, and makes it on the first call."""
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
    """Return a function that kills this many workers of a case."""

    def strike(case: str, kills: int, *, forked_reference: bool = True) -> None:
        before = {kind: len(texts) for kind, texts in tally.problems.items()}
        killer = Killer(case, runs, forked, tally, Random(zlib.crc32(f"{SEED} {case}".encode())))
        needs = "prior" if cases.CASES[case]["kind"] in {"hybrid", "restore"} else ""
        config = cases.build(case, prior_of() if needs else Run(runs.root))
        reference = killer.undisturbed(config, forked=forked_reference)
        killer.kill(config, reference, kills)
        new = {kind: texts[before[kind] :] for kind, texts in tally.problems.items()}
        assert new == {kind: [] for kind in tally.problems}, f"with DIPDDPM_KILLS_SEED={SEED}"

    return strike


def share_of(case: str) -> int:
    """Return a case's share of all kills; skip the test if the case is in another slice."""
    every = [*cases.CASES, "study"]
    if every.index(case) % SLICES != SLICE - 1:
        pytest.skip("in another slice")
    share, remainder = divmod(KILLS, len(every))
    return share + (every.index(case) < remainder)


@pytest.mark.durability
@pytest.mark.parametrize("case", cases.CASES)
def test_run_killed_at_any_moment_resumes_exactly(case: str, kill: Kill) -> None:
    # In this one case, runs of forked workers are compared with a run of a worker that isn't forked.
    kill(case, share_of(case), forked_reference=case != "ddpm unet")


@pytest.mark.durability
def test_study_killed_at_any_moment_resumes_exactly(
    tmp_path: Path, runs: RunsFolder, forked: Any, tally: Tally, prior_of: Callable[[], Run]
) -> None:
    kills = share_of("study")
    config = cases.study(prior_of())
    undisturbed = RunsFolder(tmp_path / "undisturbed")
    before = {kind: len(texts) for kind, texts in tally.problems.items()}
    Killer("study", undisturbed, forked, tally, Random(0)).undisturbed(config, forked=True)
    kill_stages(runs, config, kills, tally, Random(f"{SEED} study"))
    by_stage = [{run.config().name: run for run in folder.runs()} for folder in (undisturbed, runs)]
    assert len(by_stage[1]) == len(runs.runs()), "no stage is run twice"
    assert by_stage[0].keys() == by_stage[1].keys()
    for name, reference in by_stage[0].items():
        count_lost_epochs(by_stage[1][name], tally, f"study, {name}")
        if reference.config().kind != "study":
            assert differences(by_stage[1][name], reference) == [], name
    assert before == {kind: len(texts) for kind, texts in tally.problems.items()}


@pytest.mark.slow
@pytest.mark.parametrize("case", FEW)
def test_run_killed_few_times_resumes_exactly(case: str, kill: Kill) -> None:
    kill(case, FEW[case])
