"""Tests of the checks of processor, memory and log-out, with control groups of both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipddpm.core.doctor import Severity
from dipddpm.core.doctor.machine import assess_log_out, assess_processors, log_out, memory_left, quota


@pytest.mark.parametrize(
    ("arguments", "verdict", "part"),
    [
        ((8, 8, None, 1.0, ""), Severity.ok, "8 cores"),
        ((1, 1, None, 0.5, "1"), Severity.ok, "1 core, OMP_NUM_THREADS=1"),
        ((64, 4, None, 1.0, ""), Severity.ok, "4 of them usable"),
        ((64, 64, 2.5, 1.0, ""), Severity.note, "time limit of 2.5 cores"),
        ((64, 64, 2.0, 1.0, "2"), Severity.ok, "time limit of 2 cores"),
        ((2, 2, None, 7.3, ""), Severity.note, "load 7.3"),
    ],
)
def test_assess_processors_reports_cores_quota_and_load(
    arguments: tuple[int, int, float | None, float, str], verdict: Severity, part: str
) -> None:
    finding = assess_processors(*arguments)
    assert (finding.verdict, part in finding.message) == (verdict, True), finding
    assert ("threads=2" in finding.remedy) == (arguments[2] == 2.5)


def test_quota_and_memory_left_read_both_cgroup_versions(tmp_path: Path) -> None:
    assert (quota(tmp_path), memory_left(tmp_path)) == (None, None)
    (tmp_path / "cpu").mkdir()
    (tmp_path / "memory").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text("4096\n")
    assert (quota(tmp_path), memory_left(tmp_path)) == (None, None)
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("150000\n")
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("10000\n")
    assert (quota(tmp_path), memory_left(tmp_path)) == (1.5, 5904)
    (tmp_path / "cpu.max").write_text("400000 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1\n")
    assert (quota(tmp_path), memory_left(tmp_path)) == (4.0, None)


@pytest.mark.parametrize(
    ("kills", "lingers", "group", "verdict"),
    [
        (False, False, "0::/user.slice/user-1000.slice/session-3.scope", Severity.ok),
        (True, False, "0::/user.slice/user-1000.slice/session-3.scope", Severity.note),
        (False, False, "0::/user.slice/user-1000.slice/user@1000.service/tmux.scope", Severity.note),
        (True, True, "0::/user.slice/user-1000.slice/user@1000.service/tmux.scope", Severity.ok),
    ],
)
def test_assess_log_out_warns_when_runs_would_end(kills: bool, lingers: bool, group: str, verdict: Severity) -> None:
    finding = assess_log_out(kills=kills, lingers=lingers, group=group)
    assert finding.verdict is verdict
    assert ("enable-linger" in finding.remedy) == (verdict is Severity.note)


def test_log_out_warns_inside_slurm_allocation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    (finding,) = log_out()
    assert (finding.verdict, "4711" in finding.message) == (Severity.note, True)
