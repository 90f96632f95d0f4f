from __future__ import annotations

from collections.abc import Callable

import msgspec
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


def test_explanation_brightness_answer_follows_spread_of_samples(explained: Explained) -> None:
    record = explained()
    assert record.brightness_answer() == "confirmed"
    assert record.mended_share(findings.WITHOUT_NORM) == pytest.approx((7.54 - 4.98) / (7.54 - 0.25))
    assert [name for name in record.baseline if record.is_in_range(name)] == [findings.REAL, findings.MEAN_GIVEN_BACK]
    assert "as published 7.54" in record.baseline_text()
    for spread, answer in ((3.0, "part of the cause"), (7.0, "not the cause"), (9.0, "not the cause")):
        given_back = msgspec.structs.replace(record.baseline[findings.MEAN_GIVEN_BACK], spread=spread)
        record.baseline = record.baseline | {findings.MEAN_GIVEN_BACK: given_back}
        assert record.brightness_answer() == answer
