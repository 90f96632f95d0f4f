"""Tests of all checks together: on any machine they return findings and never raise."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

import pytest

from dipddpm.core import doctor
from dipddpm.core.doctor import Finding, Severity, machine
from dipddpm.core.doctor import torch as torches
from dipddpm.core.doctor.finding import TorchReport
from dipddpm.core.runs import RunsFolder


def test_examine_runs_all_checks_and_changes_nothing(runs: RunsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torches.Probe, "report", lambda self: TorchReport(torch="2.15.0", torchvision="0.30"))
    findings = list(doctor.examine(runs.root))
    assert {finding.subject for finding in findings} >= {
        "python", "extras", "cpu", "memory", "disk", "file system", "log-out", "data", "queue", "runs", "torch", "gpu"
    }  # fmt: skip
    assert all(finding.message for finding in findings)
    assert all(finding.remedy for finding in findings if finding.verdict is not Severity.ok)
    assert not runs.root.exists()


def test_examine_reports_failing_check_as_finding(runs: RunsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[Finding]:
        yield Finding(Severity.ok, "memory", "the first finding")
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(machine, "memory", broken)
    monkeypatch.setattr(torches.Probe, "report", lambda self: 1 / 0)
    messages = {(finding.subject, finding.verdict): finding.message for finding in doctor.examine(runs.root)}
    assert messages["memory", Severity.ok] == "the first finding"
    assert "ZeroDivisionError: by nothing" in messages["memory", Severity.note]
    assert "ZeroDivisionError" in messages["torch", Severity.note]


def test_extras_lists_extras_of_package(monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = [
        "torch>=2",
        "a-lib>=1; extra == 'alpha'",
        'b-lib; python_version < "4" and extra == "beta"',
        "c; extra == 'dev'",
    ]
    monkeypatch.setattr(metadata, "requires", lambda name: requirements)
    monkeypatch.setattr(metadata, "distributions", lambda name: [name] * (name == "a-lib"))
    (finding,) = machine.extras()
    assert finding.message == "installed: alpha; missing: beta"
    assert finding.remedy == "To install more: pip install 'dipddpm[beta]'"
