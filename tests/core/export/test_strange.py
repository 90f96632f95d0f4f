"""Every export must handle any log whose values have the right types."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import typing
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dipddpm.core import config, events
from dipddpm.core.errors import UserError
from dipddpm.core.events import Event
from dipddpm.core.export import tables, tensorboard, wandb
from dipddpm.core.export.figures import drawings
from dipddpm.core.export.html import report
from dipddpm.core.export.snapshot import Record
from dipddpm.core.report import plots
from dipddpm.core.report.plots import Curve, LinePlot, Marker, StripPlot
from dipddpm.core.report.style import COLUMN
from dipddpm.core.runs import Run
from tests.core.export.test_tensorboard import accumulated

SCALARS = {
    int: st.integers(-(2**63), 2**64 - 1),
    float: st.floats(),
    str: st.text(max_size=8),
    bool: st.booleans(),
    NoneType: st.none(),
    events.Count: st.integers(0, 2**53),
    events.Timestamp: st.floats(0, 1e11),
}


def of(kind: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for any value of a field's type."""
    if kind in SCALARS:
        return SCALARS[kind]
    if typing.get_origin(kind) is list:
        return st.lists(of(typing.get_args(kind)[0]), max_size=3)
    if typing.get_origin(kind) is dict:
        return st.dictionaries(*map(of, typing.get_args(kind)), max_size=3)
    return st.one_of(*map(of, typing.get_args(kind)))


def any_event() -> st.SearchStrategy[Event]:
    kinds = events.EVENT_TYPES
    fields = {
        kind: {name: of(hint) for name, hint in typing.get_type_hints(kind, include_extras=True).items()}
        for kind in kinds
    }
    return st.one_of(*(st.builds(kind, **strategies) for kind, strategies in fields.items()))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("strange")
    (folder / "config.toml").write_text(config.to_toml(config.build("dip")))
    return Run(folder)


def refuse(constant: str) -> Iterator[Any]:
    raise AssertionError(f"{constant} isn't valid JSON")


@settings(max_examples=30, phases=[Phase.generate])
@given(history=st.lists(any_event(), max_size=6))
def test_exports_accept_any_history(empty: Run, history: list[Event]) -> None:
    record = Record(empty, empty.status(), history)
    steps = [step for step, _ in wandb.rows(record)]
    assert steps == sorted(set(steps))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tensorboard.write(record, folder)
        accumulated(folder)
        try:
            tables.write_csv(record, folder)
            tables.write_jsonl(record, folder)
        except UserError:
            assert not list(folder.glob("*.csv"))
        for path in folder.glob("*.jsonl"):
            for line in path.read_bytes().splitlines():
                json.loads(line, parse_constant=refuse)
    with contextlib.suppress(UserError):
        drawings(record)
    drawn = (events.Step, events.EpochFinished, events.PsnrMeasured, events.RestorationScored)
    undrawn = Record(empty, record.status, [event for event in history if not isinstance(event, drawn)])
    assert "<script" not in report(undrawn).html()


NUMBERS = st.lists(st.floats(), min_size=1, max_size=4)


@settings(max_examples=6, phases=[Phase.generate])
@given(x=NUMBERS, y=NUMBERS, log=st.booleans())
def test_plots_save_draws_any_numbers(x: list[float], y: list[float], log: bool) -> None:
    size = min(len(x), len(y))
    curve = Curve("a", x[:size], y[:size], marks=False)
    drawn = LinePlot("t", "x", "y", [curve], {"level": y[0]}, log, log, [Marker("marker", x[0], y[0])])
    for drawing in (drawn, StripPlot("t", "x", {"a": y})):
        out = io.BytesIO()
        plots.save(drawing, out, COLUMN, "svg")
        assert b"</svg>" in out.getvalue()
