from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from dipddpm.core import config as configs
from dipddpm.core.compute import checkpoint
from dipddpm.core.config import ExplanationRun
from dipddpm.core.errors import UserError
from dipddpm.core.events import Document, Pictures
from dipddpm.core.experiments.explanation import FILE, ExplanationExperiment
from dipddpm.core.study import findings
from dipddpm.core.study.findings import Explanation, after
from tests.core.steps import count_steps, until_step
from tests.helpers import Plain

TINY = {"train_images": 40, "test_images": 20, "epochs": 2, "seeds": 2, "steps": "0,1,2,4", "fixed": 2}
TINY |= {"baseline_images": 64, "baseline_epochs": 1, "baseline_samples": 128, "baseline_steps": 2}


def experiment(**settings: Any) -> ExplanationExperiment:
    given = {f"explanation.{key}": value for key, value in (TINY | settings).items()}
    config = configs.build("explanation", settings=given)
    assert isinstance(config, ExplanationRun)
    return ExplanationExperiment.from_config(config, "cpu")


@pytest.mark.slow
def test_explanation_experiment_measures_all_and_resumes_exactly(tmp_path: Path, plain: Plain) -> None:
    whole = experiment()
    items = [plain(item) for item in whole]
    assert whole.step == whole.started().steps
    (document,) = [item for item in items if isinstance(item, Document)]
    assert document.name == FILE
    record = msgspec.json.decode(document.text, type=Explanation)
    assert {item.name for item in items if isinstance(item, Pictures)} == {"denoised", "explanation", "brightness"}
    assert list(map(after, record.steps)) == [name for name in record.trained if name.startswith("k = ")]
    assert {len(record.trained[name]) for name in (findings.XT, after(2))} == {2}
    assert set(record.linear) == {name for name in record.trained if not name.startswith("x0 from")}
    assert all(len(bands) == record.bands for bands in record.linear.values())
    assert {one.sigma for one in record.denoised} == {25, 50}

    assert list(record.baseline) == [
        findings.REAL,
        findings.AS_PUBLISHED,
        findings.MEAN_GIVEN_BACK,
        findings.WITHOUT_NORM,
    ]
    assert all(len(result.losses) == 2 for name, result in record.baseline.items() if name != findings.REAL)

    file = tmp_path / "last.safetensors"
    for stop_after in (count_steps(items) // 2, count_steps(items) - 2):
        stopped = experiment()
        before = [plain(item) for item in until_step(stopped, stop_after)]
        checkpoint.save(file, stopped.state_dict())
        resumed = experiment()
        resumed.load_state_dict(checkpoint.load_state(file))
        assert [*before, *(plain(item) for item in resumed)] == items


def test_explanation_experiment_refuses_impossible_options() -> None:
    with pytest.raises(UserError, match="only 500 test images, fewer than the 501"):
        experiment(test_images=501)
    with pytest.raises(UserError, match="fixed must be one of the steps"):
        experiment(fixed=3)
    with pytest.raises(UserError, match="must increase"):
        experiment(steps="0,4,2,8")
