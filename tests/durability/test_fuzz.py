"""Fuzz tests: invalid input to any reader is refused with a message or skipped, without a traceback or a hang.

Hypothesis edits valid inputs; atheris searches for inputs that take new paths through the code. Inputs that once broke
a target are in `corpus`, and the default suite tries them again.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.durability import targets
from tests.durability.conftest import REPORT
from tests.durability.targets import TARGETS, seeds, words

RUNS = {
    "events": 20_000,
    "config": 15_000,
    "records": 10_000,
    "checkpoint": 6_000,
    "query": 25_000,
    "task": 15_000,
    "image": 10_000,
    "idx": 5_000,
}
"""The number of atheris inputs per target; Hypothesis adds a twentieth."""
FUZZ_SECONDS = 1800
INPUT_SECONDS = 10
WILD: list[Any] = [
    None,
    True,
    -1,
    0,
    2**53 + 1,
    2**80,
    1e308,
    -1e-320,
    "inf",
    "nan",
    "",
    "\x1b[31m",
    "\u202e",
    [],
    {},
    [[]],
    {"a": 1},
]


@pytest.fixture(scope="module", autouse=True)
def own_folder() -> Iterator[None]:
    yield
    targets.remove_folder()


@contextmanager
def in_time() -> Iterator[None]:
    """Raise TimeoutError if the block takes over `INPUT_SECONDS`."""

    def late(*_: object) -> None:
        raise TimeoutError(f"an input took over {INPUT_SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(INPUT_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def edited(target: str) -> st.SearchStrategy[bytes]:
    """Return a strategy for one or two joined valid inputs with parts cut out, overwritten or inserted."""
    inserted = st.binary(max_size=8) | st.sampled_from([word.encode("latin-1") for word in sorted(words(target))])
    edit = st.tuples(st.floats(0, 1), st.integers(0, 40), inserted)

    @st.composite
    def make(draw: st.DrawFn) -> bytes:
        content = b"".join(draw(st.lists(st.sampled_from(seeds(target)), min_size=1, max_size=2)))
        for where, cut, put in draw(st.lists(edit, max_size=6)):
            at = int(where * len(content))
            content = content[:at] + put + content[at + cut :]
        return content

    return st.one_of(make(), st.binary(max_size=300))


def changed_records(valid: list[Any]) -> st.SearchStrategy[bytes]:
    """Return a strategy for JSON lines of valid records with up to two values replaced, at any depth."""

    @st.composite
    def make(draw: st.DrawFn) -> bytes:
        lines = []
        for record in draw(st.lists(st.sampled_from(valid), min_size=1, max_size=6)):
            changed = copy.deepcopy(record)
            for _ in range(draw(st.integers(0, 2))):
                path = draw(st.sampled_from(list(_paths(changed))))
                if path:
                    holder = changed
                    for key in path[:-1]:
                        holder = holder[key]
                    holder[path[-1]] = draw(st.sampled_from(WILD) | st.floats() | st.text(max_size=5))
            lines.append(json.dumps(changed))
        return "\n".join(lines).encode("utf-8", "replace") + b"\n"

    return make()


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from _paths(part, (*path, key))


def inputs(target: str) -> st.SearchStrategy[bytes]:
    made = edited(target)
    if target in {"events", "records", "checkpoint"}:
        records = [json.loads(seed) for seed in seeds(target) if seed.startswith(b"{")]
        made |= changed_records(records)
    if target in {"query", "task"}:
        made |= st.lists(st.sampled_from(sorted(words(target))) | st.text(max_size=6), max_size=12).map(
            lambda parts: "".join(parts).encode("utf-8", "replace")
        )
    return made


def attack(target: str, examples: int) -> int:
    """Run a target on inputs of Hypothesis, and return the number of inputs tried."""
    tried = 0

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(inputs(target))
    def feed(content: bytes) -> None:
        nonlocal tried
        tried += 1
        with in_time():
            TARGETS[target](content)

    feed()
    return tried


@pytest.mark.parametrize("target", TARGETS)
def test_fuzz_targets_handle_seeds_and_corpus(target: str) -> None:
    for content in seeds(target):
        with in_time():
            TARGETS[target](content)


@pytest.mark.parametrize("target", TARGETS)
def test_fuzz_targets_handle_edited_inputs(target: str) -> None:
    assert attack(target, 10) >= 10


@pytest.mark.durability
@pytest.mark.parametrize("target", TARGETS)
def test_fuzz_targets_handle_many_edited_inputs(target: str, pytestconfig: pytest.Config) -> None:
    tried = attack(target, RUNS[target] // 20)
    pytestconfig.stash.setdefault(REPORT, []).append(f"{target}: {tried:,} inputs by Hypothesis")


@pytest.mark.durability
@pytest.mark.parametrize("target", TARGETS)
def test_fuzz_targets_handle_coverage_guided_inputs(target: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    pytest.importorskip("atheris")
    folder = tmp_path / "fuzz"
    command = [sys.executable, "-m", "tests.durability.fuzz", target, str(RUNS[target]), str(folder)]
    done = subprocess.run(
        command,
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=FUZZ_SECONDS,
        check=False,
    )
    broken = [(path.name, path.read_bytes()[:500]) for path in folder.glob("broken-*")]
    assert (done.returncode, broken) == (0, []), done.stderr[-4000:]
    executed = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    assert executed is not None and int(executed[1]) >= RUNS[target]
    interesting = len(list((folder / "corpus").iterdir()))
    line = f"{target}: {int(executed[1]):,} inputs by atheris, {interesting} of which took new paths through the code"
    pytestconfig.stash.setdefault(REPORT, []).append(line)
    shutil.rmtree(folder)
