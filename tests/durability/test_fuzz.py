"""Nonsense in the place of all that is read: refused in a sentence or passed by, never a traceback, never a hang.

By Hypothesis, which edits sound inputs, and by atheris, which looks for new ways through the code. What they once
found lies in `corpus` and is tried again by the default suite.
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
"""Inputs by atheris; Hypothesis adds a twentieth."""
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
    """A hang is a failure, not something to wait for."""

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
    """A sound input, or two, with parts cut out, written over or put in."""
    piece = st.binary(max_size=8) | st.sampled_from([word.encode("latin-1") for word in sorted(words(target))])
    edit = st.tuples(st.floats(0, 1), st.integers(0, 40), piece)

    @st.composite
    def make(draw: st.DrawFn) -> bytes:
        content = b"".join(draw(st.lists(st.sampled_from(seeds(target)), min_size=1, max_size=2)))
        for where, cut, put in draw(st.lists(edit, max_size=6)):
            at = int(where * len(content))
            content = content[:at] + put + content[at + cut :]
        return content

    return st.one_of(make(), st.binary(max_size=300))


def bent(sound: list[Any]) -> st.SearchStrategy[bytes]:
    """JSON lines of sound records in which a value, anywhere, is another one."""

    @st.composite
    def make(draw: st.DrawFn) -> bytes:
        lines = []
        for record in draw(st.lists(st.sampled_from(sound), min_size=1, max_size=6)):
            changed = copy.deepcopy(record)
            for _ in range(draw(st.integers(0, 2))):
                place = draw(st.sampled_from(list(_places(changed))))
                if place:
                    holder = changed
                    for key in place[:-1]:
                        holder = holder[key]
                    holder[place[-1]] = draw(st.sampled_from(WILD) | st.floats() | st.text(max_size=5))
            lines.append(json.dumps(changed))
        return "\n".join(lines).encode("utf-8", "replace") + b"\n"

    return make()


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from _places(part, (*path, key))


def inputs(target: str) -> st.SearchStrategy[bytes]:
    made = edited(target)
    if target in {"events", "records", "checkpoint"}:
        records = [json.loads(seed) for seed in seeds(target) if seed.startswith(b"{")]
        made |= bent(records)
    if target in {"query", "task"}:
        made |= st.lists(st.sampled_from(sorted(words(target))) | st.text(max_size=6), max_size=12).map(
            lambda parts: "".join(parts).encode("utf-8", "replace")
        )
    return made


def attack(target: str, examples: int) -> int:
    """Let Hypothesis have a go; the inputs tried."""
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
def test_fuzz_targets_handle_inputs_found_before(target: str) -> None:
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
    place = tmp_path / "fuzz"
    command = [sys.executable, "-m", "tests.durability.fuzz", target, str(RUNS[target]), str(place)]
    done = subprocess.run(
        command,
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=FUZZ_SECONDS,
        check=False,
    )
    broken = [(path.name, path.read_bytes()[:500]) for path in place.glob("broken-*")]
    assert (done.returncode, broken) == (0, []), done.stderr[-4000:]
    found = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    assert found is not None and int(found[1]) >= RUNS[target]
    kept = len(list((place / "corpus").iterdir()))
    line = f"{target}: {int(found[1]):,} inputs by atheris, {kept} of which found new ways through the code"
    pytestconfig.stash.setdefault(REPORT, []).append(line)
    shutil.rmtree(place)
