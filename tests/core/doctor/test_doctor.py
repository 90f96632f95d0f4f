"""All checks together: they never raise, and they say something on any machine."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

import pytest

from dipddpm.core import doctor
from dipddpm.core.doctor import Finding, Severity, machine
from dipddpm.core.doctor import torch as torches
from dipddpm.core.doctor.probe import TorchReport
from dipddpm.core.runs import RunsFolder


def test_examine_runs_all_checks_and_changes_nothing(runs: RunsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torches.Probe, "report", lambda self: TorchReport(torch="2.15.0", torchvision="0.30"))
    found = list(doctor.examine(runs.root))
    assert {each.what for each in found} >= {
        "python", "extras", "cpu", "memory", "disk", "file system", "log-out", "data", "queue", "runs", "torch", "gpu"
    }  # fmt: skip
    assert all(each.told for each in found)
    assert all(each.remedy for each in found if each.verdict is not Severity.ok)
    assert not runs.root.exists()


def test_examine_reports_failing_check_as_finding(runs: RunsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[Finding]:
        yield Finding(Severity.ok, "memory", "so far")
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(machine, "memory", broken)
    monkeypatch.setattr(torches.Probe, "report", lambda self: 1 / 0)
    found = {(each.what, each.verdict): each.told for each in doctor.examine(runs.root)}
    assert found["memory", Severity.ok] == "so far"
    assert "ZeroDivisionError: by nothing" in found["memory", Severity.note]
    assert "ZeroDivisionError" in found["torch", Severity.note]


def test_extras_lists_extras_of_package(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [
        "torch>=2",
        "a-lib>=1; extra == 'alpha'",
        'b-lib; python_version < "4" and extra == "beta"',
        "c; extra == 'dev'",
    ]
    monkeypatch.setattr(metadata, "requires", lambda name: asked)
    monkeypatch.setattr(metadata, "distributions", lambda name: [name] * (name == "a-lib"))
    (found,) = machine.extras()
    assert found.told == "here: alpha; not here: beta"
    assert found.remedy == "More: pip install 'dipddpm[beta]'"
