from __future__ import annotations

from collections.abc import Callable

import pytest

from dipddpm.core.study import findings
from dipddpm.core.study.findings import Explanation, after

Explained = Callable[..., Explanation]


def test_answers_follow_numbers(explained: Explained) -> None:
    assert explained().answers() == ["not the cause", "half of it", "not the cause"]
    assert explained(spread=0.9).answers()[0] == "confirmed"
    assert explained(spikes=9).answers()[0] == "confirmed"
    assert explained({findings.BUDGET: 0.1}).answers()[1] == "confirmed"
    assert explained({findings.BESIDE: 0.3}).answers()[2] == "half of it"
    assert explained({findings.BESIDE: 0.8}).answers()[2] == "confirmed"


def test_closed_share_is_fraction_of_distance(explained: Explained) -> None:
    found = explained({findings.XT: 0.1, after(50): 0.9, findings.BUDGET: 0.7})
    assert found.closed_share(findings.BUDGET) == pytest.approx(0.25)
    assert found.closed_share(findings.XT) == pytest.approx(1)
    assert found.closed_share(after(50)) == pytest.approx(0)
