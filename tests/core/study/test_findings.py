from __future__ import annotations

from collections.abc import Callable

import pytest

from dipddpm.core.study import findings
from dipddpm.core.study.findings import Explanation, after

Explained = Callable[..., Explanation]


def test_explanation_answers_follow_its_numbers(explained: Explained) -> None:
    assert explained().answers() == ["not the cause", "part of the cause", "not the cause"]
    assert explained(spread=0.9).answers()[0] == "confirmed"
    assert explained(spikes=9).answers()[0] == "confirmed"
    assert explained({findings.BUDGET: 0.1}).answers()[1] == "confirmed"
    assert explained({findings.XT_WITH_DIP: 0.3}).answers()[2] == "part of the cause"
    assert explained({findings.XT_WITH_DIP: 0.8}).answers()[2] == "confirmed"


def test_explanation_closed_share_is_fraction_of_distance_to_ddpm(explained: Explained) -> None:
    explanation = explained({findings.XT: 0.1, after(50): 0.9, findings.BUDGET: 0.7})
    assert explanation.closed_share(findings.BUDGET) == pytest.approx(0.25)
    assert explanation.closed_share(findings.XT) == pytest.approx(1)
    assert explanation.closed_share(after(50)) == pytest.approx(0)
