from __future__ import annotations

from collections.abc import Callable

import pytest

from dipddpm.core.study import findings
from dipddpm.core.study.findings import Explanation, after
from dipddpm.core.study.published import published
from dipddpm.core.study.verdicts import closed_share, overlooked_cause, verdicts

Explained = Callable[..., Explanation]
CAUSES = published().hybrid_substitution.suspected_causes


def answers(found: Explanation) -> list[str]:
    return [verdict.answer for verdict in verdicts(found, CAUSES)]


def test_verdicts_answer_each_suspicion(explained: Explained) -> None:
    found = verdicts(explained(), CAUSES)
    assert [verdict.suspicion for verdict in found] == CAUSES
    assert answers(explained()) == ["no", "half", "no"]


def test_verdicts_follow_numbers(explained: Explained) -> None:
    assert answers(explained(spread=0.9))[0] == "yes"
    assert answers(explained(spikes=9))[0] == "yes"
    assert answers(explained({findings.BUDGET: 0.1}))[1] == "yes"
    assert answers(explained({findings.BESIDE: 0.3}))[2] == "half"
    assert answers(explained({findings.BESIDE: 0.8}))[2] == "yes"


def test_closed_share_is_fraction_of_distance(explained: Explained) -> None:
    found = explained({findings.XT: 0.1, after(50): 0.9, findings.BUDGET: 0.7})
    assert closed_share(found, findings.BUDGET) == pytest.approx(0.25)
    assert closed_share(found, findings.XT) == pytest.approx(1)
    assert closed_share(found, after(50)) == pytest.approx(0)


def test_verdict_evidence_cites_numbers(explained: Explained) -> None:
    found = explained()
    told = overlooked_cause(found)
    assert all(number in told for number in ("0.980 at k = 10", "0.820 at k = 50", "1.000", "0.075", "18.0%"))
    stability, timestep, combination = (verdict.evidence for verdict in verdicts(found, CAUSES))
    assert "0.0020 and 0.0010" in stability
    assert all(number in timestep for number in ("0.966", "0.820", "0.730", "200, 50, 10", "12%"))
    assert all(number in combination for number in ("0.076", "0.075", "0.237", "0.212"))
