"""Test that neither a worker nor the console nor their children open a network port."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from dipddpm.core.launch import local
from dipddpm.core.runs import RunsFolder, heartbeat

CHECKS = 20


def open_ports(pid: int) -> list[Any]:
    """Return the network ports that a process and its children listen on or are connected to."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return [port for member in family for port in member.net_connections(kind="inet")]
    except psutil.NoSuchProcess:
        return []


@pytest.mark.durability
def test_worker_and_console_open_no_port(runs: RunsFolder, tiny: Callable[..., Any], until: Callable[..., Any]) -> None:
    run = runs.create(tiny())
    local.start(run)
    worker = until(lambda: heartbeat.read(run.folder)).identity.pid
    master, slave = pty.openpty()
    command = [
        sys.executable,
        "-P",
        "-c",
        "import sys; from dipddpm.tui.console.__main__ import main; sys.exit(main())",
    ]
    console = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    checks = 0
    try:
        until(lambda: os.read(master, 1 << 16))
        os.set_blocking(master, False)
        while checks < CHECKS or run.status().state.live:
            assert open_ports(worker) == open_ports(console.pid) == []
            assert console.poll() is None
            checks += 1
            try:
                os.read(master, 1 << 20)
            except BlockingIOError:
                time.sleep(0.1)
    finally:
        console.kill()
        console.wait()
        os.close(master)
