"""Processor, memory and log-out: control groups of both versions, and each thing that is worth a note."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipddpm.core.doctor import Severity
from dipddpm.core.doctor.machine import assess_log_out, assess_processors, log_out, memory_left, quota


@pytest.mark.parametrize(
    ("given", "verdict", "told"),
    [
        ((8, 8, None, 1.0, ""), Severity.ok, "8 cores"),
        ((1, 1, None, 0.5, "1"), Severity.ok, "1 core, OMP_NUM_THREADS=1"),
        ((64, 4, None, 1.0, ""), Severity.ok, "4 of them for us"),
        ((64, 64, 2.5, 1.0, ""), Severity.note, "time for 2.5"),
        ((64, 64, 2.0, 1.0, "2"), Severity.ok, "time for 2"),
        ((2, 2, None, 7.3, ""), Severity.note, "load 7.3"),
    ],
)
def test_assess_processors_reports_cores_quota_and_load(
    given: tuple[int, int, float | None, float, str], verdict: Severity, told: str
) -> None:
    found = assess_processors(*given)
    assert (found.verdict, told in found.told) == (verdict, True), found
    assert ("threads=2" in found.remedy) == (given[2] == 2.5)


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
    found = assess_log_out(kills=kills, lingers=lingers, group=group)
    assert found.verdict is verdict
    assert ("enable-linger" in found.remedy) == (verdict is Severity.note)


def test_log_out_warns_inside_slurm_allocation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    (found,) = log_out()
    assert (found.verdict, "4711" in found.told) == (Severity.note, True)
