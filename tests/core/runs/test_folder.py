"""Tests of the runs folder: which folders are runs, how `find` finds one, and that no folder breaks the list."""

from __future__ import annotations

import errno
import math
import os
import random
import time
import types
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.errors import UserError
from dipddpm.core.io import atomic
from dipddpm.core.runs import CONFIG_FILE, EVENTS_FILE, SUMMARY_FILE, Run, RunsFolder, RunState, heartbeat
from dipddpm.tui.cli.runs import _as_json, _facts, _list_row
from dipddpm.tui.shared.formatting import event_line
from tests.helpers import this_process

CONFIG = configs.build("ddpm", settings={"name": "mine"})


def made(root: Path, *names: str) -> RunsFolder:
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / CONFIG_FILE).write_text(configs.to_toml(CONFIG))
    return RunsFolder(root)


def ids(runs: RunsFolder) -> list[str]:
    return [run.id for run in runs.runs()]


def test_runs_folder_orders_runs_of_one_second_by_creation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    runs = RunsFolder(tmp_path)
    kinds = [CONFIG, configs.build("dip"), configs.build("restore")]
    made = [runs.create(kinds[number % 3]).id for number in range(30)]
    assert ids(runs) == made[::-1]
    assert len({run_id[:15] for run_id in made}) <= 2


def test_runs_folder_create_makes_distinct_queued_runs(tmp_path: Path) -> None:
    runs = RunsFolder(tmp_path / "not" / "yet" / "there")
    before = time.time()
    first, second = runs.create(CONFIG), runs.create(CONFIG)
    assert first.id != second.id
    assert first.config() == CONFIG
    assert before - 1e-3 <= first.created < second.created <= time.time() + 1e-3
    assert first.status().state is RunState.queued
    assert sorted(path.name for path in first.folder.iterdir()) == ["checkpoints", CONFIG_FILE, "images"]
    assert set(ids(runs)) == {first.id, second.id}


def test_runs_folder_create_hides_run_until_config_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = RunsFolder(tmp_path / "runs")
    write_atomic = atomic.write_atomic

    def write_and_interrupt(path: Path, content: bytes) -> None:
        assert ids(runs) == []
        write_atomic(path, content)
        assert ids(runs) == []
        raise KeyboardInterrupt  # like a signal that ends the process, so that no clean-up runs

    monkeypatch.setattr(atomic, "write_atomic", write_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        runs.create(CONFIG)
    monkeypatch.undo()
    assert ids(runs) == []
    run = runs.create(CONFIG)
    assert ids(runs) == [run.id]


def test_runs_folder_create_respects_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        run = RunsFolder(tmp_path / "runs").create(CONFIG)
    finally:
        os.umask(before)
    assert run.folder.stat().st_mode & 0o777 == 0o750
    assert (run.folder / CONFIG_FILE).stat().st_mode & 0o777 == 0o640


def test_runs_folder_lists_newest_first_without_foreign_folders(tmp_path: Path) -> None:
    runs = made(tmp_path, "20260101-000000-ddpm-0001", "20260102-000000-dip-0002", "copied by hand")
    (tmp_path / "20260103-000000-hybrid-0003").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / ".trash").mkdir()
    (tmp_path / ".trash" / CONFIG_FILE).write_text("")
    (tmp_path / "file").write_text("")
    (tmp_path / "20260104-000000-ddpm-link").symlink_to(tmp_path / "20260101-000000-ddpm-0001")
    (tmp_path / "loop").symlink_to("loop")
    assert ids(runs) == [
        "20260103-000000-hybrid-0003",
        "20260102-000000-dip-0002",
        "20260101-000000-ddpm-0001",
        "copied by hand",
    ]
    assert ids(RunsFolder(tmp_path / "nowhere")) == []
    assert ids(RunsFolder(tmp_path / "file")) == []


def test_runs_folder_find_takes_id_prefix_digits_or_last(tmp_path: Path) -> None:
    runs = made(tmp_path, "20260101-000000-ddpm-0001", "20260102-000000-dip-0002", "20260102-000000-dip-0002-copy")
    assert runs.find("last").id == "20260102-000000-dip-0002-copy"
    assert runs.find("20260101").id == "20260101-000000-ddpm-0001"
    assert runs.find("0001").id == "20260101-000000-ddpm-0001"
    assert runs.find("20260102-000000-dip-0002").id == "20260102-000000-dip-0002", "a complete id takes precedence"
    with pytest.raises(UserError, match="2 runs match '20260102'"):
        runs.find("20260102")
    for wanted in ("20270101", "../tmp", "/etc", "", "0002 "):
        with pytest.raises(UserError):
            runs.find(wanted)
    with pytest.raises(UserError, match="There are no runs"):
        RunsFolder(tmp_path / "nowhere").find("last")


def test_status_of_folder_without_config_is_broken(tmp_path: Path) -> None:
    (tmp_path / "20260101-000000-ddpm-0001").mkdir()
    (run,) = RunsFolder(tmp_path).runs()
    status = run.status()
    assert status.state is RunState.broken
    assert "config.toml is missing" in status.trouble
    assert status.config is None


def test_status_survives_impossible_creation_times(tmp_path: Path) -> None:
    runs = made(tmp_path, "20990101-000000-ddpm-0001", "00000000-000000-ddpm-0002", "99999999-999999-ddpm-0003")
    for run in runs.runs():
        assert run.status().state is RunState.crashed
        _list_row(run.status())


def test_status_is_stalled_for_live_run_without_progress(tmp_path: Path) -> None:
    (run,) = made(tmp_path, "20260101-000000-ddpm-0001").runs()
    (run.folder / EVENTS_FILE).write_text('{"event":"run_started","kind":"ddpm","method":"m","device":"cpu"}\n')
    now = time.time()
    for progressed, stalled in ((now, False), (now - 1000, True), (0.0, False)):
        heartbeat.write(run.folder, heartbeat.Worker(this_process(), alive=now, progressed=progressed))
        assert run.status().state is RunState.running
        assert run.status().stalled is stalled


noise = st.one_of(
    st.binary(max_size=80),
    st.sampled_from([b"\x00" * 9, b"{}", b"null", b"[", b"\xff\xfe", b'{"offset":9e99}', b'kind = "ddpm"']),
)
extremes = {
    int: st.sampled_from([0, 1, -1, 2**63, -(2**63), 10**30, -(10**30)]),
    float: st.sampled_from([0.0, -1.0, 1e308, -1e308, 5e-324, math.nan, math.inf, -math.inf]),
    str: st.sampled_from(["", "x", "\x1b[2J", "[red]", "\u202e", "a" * 3000]),
    bool: st.booleans(),
    types.NoneType: st.none(),
}


def extreme(hint: Any) -> st.SearchStrategy[Any]:
    if hint in extremes:
        return extremes[hint]
    arms = st.one_of([extreme(arm) for arm in typing.get_args(hint)])
    return st.lists(arms, max_size=2) if typing.get_origin(hint) is list else arms


EVENTS = st.one_of(
    [
        st.builds(kind, **{name: extreme(hint) for name, hint in typing.get_type_hints(kind).items()})
        for kind in events.EVENT_TYPES
    ]
).map(events.encode)


@given(
    config=st.just(configs.to_toml(CONFIG).encode()) | noise,
    log=st.lists(EVENTS | noise, min_size=1, max_size=6),
    stored=noise,
    worker=noise,
)
def test_run_with_any_file_content_can_be_listed_and_shown(
    tmp_path_factory: pytest.TempPathFactory, config: bytes, log: list[bytes], stored: bytes, worker: bytes
) -> None:
    folder = tmp_path_factory.mktemp("runs") / "20260101-000000-ddpm-0001"
    folder.mkdir()
    for name, content in (
        (CONFIG_FILE, config),
        (EVENTS_FILE, b"".join(log)),
        (SUMMARY_FILE, stored),
        (heartbeat.WORKER_FILE, worker),
    ):
        (folder / name).write_bytes(content)
    (run,) = RunsFolder(folder.parent).runs()
    status = run.status()
    assert len(_list_row(status)) == 10
    assert _facts(status)
    assert _as_json(status).startswith("{")
    for event in run.events():
        text = event_line(event)
        assert text is None or text.isprintable()


def test_runs_folder_lists_thousand_folders_half_broken(tmp_path: Path) -> None:
    names = [f"20260101-{n:06d}-ddpm-{n:04x}" for n in range(1000)]
    runs = made(tmp_path, *names[::2])
    for name in names[1::2]:
        (tmp_path / name).mkdir()
        (tmp_path / name / random.choice([CONFIG_FILE, EVENTS_FILE, SUMMARY_FILE])).write_bytes(os.urandom(50))
    states = [run.status().state for run in runs.runs()]
    assert (states.count(RunState.crashed), states.count(RunState.broken)) == (500, 500)


@pytest.mark.parametrize(("code", "is_full"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EROFS, False)])
def test_create_suggests_space_only_on_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, is_full: bool
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic, "write_atomic", fail)
    with pytest.raises(UserError, match=os.strerror(code)) as refused:
        RunsFolder(tmp_path).create(CONFIG)
    assert ("free some space" in refused.value.remedy) == is_full
    assert list(tmp_path.iterdir()) == []


def test_runs_folder_find_refuses_path(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / CONFIG_FILE).write_text(configs.to_toml(CONFIG))
    with pytest.raises(UserError):
        made(tmp_path / "runs", "20260101-000000-ddpm-0001").find("../secret")
    assert Run(tmp_path / "secret").created == 0.0
