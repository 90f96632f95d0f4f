"""`dipddpm bench` on the command line; `tests/core/bench` tests the measurements."""

from __future__ import annotations

import json

import pytest
import torch

from dipddpm.core.bench import speed
from dipddpm.core.bench.rates import Work
from tests.tui.driving import dipddpm


@pytest.fixture(autouse=True)
def one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure a matrix product instead of the standard work."""
    x = torch.zeros(64, 64)

    def works(device: torch.device) -> list[Work]:
        return [Work("dip", "product", "products", 1, lambda: x @ x, waits={"a thousand products": 1000})]

    monkeypatch.setattr(speed, "standard", works)


def test_bench_prints_machine_rates_and_job_times(capsys: pytest.CaptureFixture[str]) -> None:
    assert dipddpm("bench", "--device", "cpu", "--threads", "1") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][:3] == ["DEVICE", "THREADS", "COPY"]
    rates = next(number for number, words in enumerate(lines) if words[:1] == ["WORK"])
    assert lines[rates + 1][:2] == ["dip,", "product"]
    jobs = next(number for number, words in enumerate(lines) if words[:1] == ["JOB"])
    assert lines[jobs + 1][:3] == ["a", "thousand", "products"]


def test_bench_json_holds_the_rates(capsys: pytest.CaptureFixture[str]) -> None:
    assert dipddpm("bench", "--device", "cpu", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["machine"]["device"] == "cpu"
    (rate,) = report["rates"]
    assert rate["flops"] == 2 * 64**3
    assert rate["waits"]["a thousand products"] == pytest.approx(1000 / rate["per_second"])


def test_bench_refuses_missing_device(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dipddpm.core.compute.devices.gpu_count", lambda: 0)
    assert dipddpm("bench", "--device", "cuda") == 2
    assert "There is no device cuda" in capsys.readouterr().err
