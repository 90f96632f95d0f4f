from __future__ import annotations

import pytest
import torch

from dipddpm.core.bench.rates import Rate, Work, advice, measure
from dipddpm.core.bench.roofline import Machine

MACHINE = Machine(device="cpu", threads=1, flops={"float32": 100.0, "bfloat16": 200.0}, bandwidth=10.0)


def rate(per_second: float, *, options: str = "", spread: float = 0.0, name: str = "tutorial") -> Rate:
    return Rate(
        part="training",
        name=name,
        options=options,
        unit="images",
        per_second=per_second,
        spread=spread,
        repeats=5,
        warm_up=0.0,
        flops=0.0,
        bytes=0.0,
        share=0.0,
        waits={},
    )


def test_measure_returns_units_per_second_and_share_of_the_roofline() -> None:
    x = torch.zeros(64, 64)
    calls = []

    def run() -> None:
        calls.append(1)
        x @ x

    (rate,) = measure([Work("part", "product", "products", 1, run)], MACHINE, repeats=4)
    assert len(calls) == 6, "expected one count, one warm-up and four measurements"
    assert rate.flops == 2 * 64**3
    assert rate.share == pytest.approx(rate.per_second * max(rate.flops / 100, rate.bytes / 10))
    assert rate.repeats == 4
    assert rate.spread >= 0


def test_measure_takes_turns_within_a_part() -> None:
    order: list[str] = []
    works = [Work(part, name, "things", 2, lambda name=name: order.append(name)) for part, name in ("xa", "xb", "yc")]  # type: ignore[misc]
    assert [rate.name for rate in measure(works, MACHINE, repeats=2)] == ["a", "b", "c"]
    assert order == [*"ab" * 4, *"c" * 4]


def test_measure_runs_long_work_three_times() -> None:
    calls = []
    (rate,) = measure([Work("part", "long", "units", 1, lambda: calls.append(1), long=True)], MACHINE)
    assert (len(calls), rate.repeats) == (3, 2)


def test_measure_converts_jobs_to_seconds() -> None:
    x = torch.zeros(64, 64)
    (rate,) = measure([Work("part", "product", "products", 3, lambda: x @ x, waits={"job": 600})], MACHINE)
    assert rate.waits["job"] == pytest.approx(600 / rate.per_second)


def test_advice_names_the_fastest_form() -> None:
    (sentence,) = advice([rate(10), rate(15, options="--set a=b"), rate(25, options="--compile")])
    assert sentence == "training, tutorial: --compile makes it 2.50 times as fast."


def test_advice_ignores_gains_within_the_spread() -> None:
    (sentence,) = advice([rate(10, spread=1), rate(12, spread=2, options="--compile")])
    assert "none of the measured options" in sentence


def test_advice_compares_forms_of_the_same_work_only() -> None:
    assert advice([rate(10), rate(99, name="U-Net")]) == []


def test_advice_warns_of_a_busy_machine() -> None:
    (sentence,) = advice([rate(10, spread=3)])
    assert "vary by more than a quarter" in sentence
