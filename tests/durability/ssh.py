"""A real sshd on loopback, with its own keys and configuration, and connections to it that can be cut."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

import psutil

from tests.tui.terminal import Terminal

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
MARK = "DIPDDPM_LINE"
"""The environment variable that marks all processes started through a connection, since children inherit it."""
CUTS = ("client", "terminal", "server", "silence")
"""The ways to cut a connection: kill the client or its server process with SIGKILL, close the terminal, or stop the
client until the server gives up."""
SILENT_SECONDS = 2.0
_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
SetEnv {environment}
"""


class Server:
    """An sshd; its sessions have the variables of `environment`."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        assert SSHD is not None
        folder.mkdir()
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # the root folder of sshd's unprivileged process
        self.mark = uuid.uuid4().hex
        given = " ".join(f'{name}="{value}"' for name, value in {**environment, MARK: self.mark}.items())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder = folder
        config = folder / "sshd_config"
        config.write_text(_CONFIG.format(port=self.port, folder=folder, environment=given))
        with (folder / "sshd.log").open("wb") as log:
            self.process = psutil.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=log)
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 30.0
        while True:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", self.port)):
                return
            assert self.process.is_running(), (self.folder / "sshd.log").read_text()
            assert time.monotonic() < deadline, "sshd does not listen"
            time.sleep(0.05)

    def connect(self, command: str, size: tuple[int, int] = (100, 30)) -> SshSession:
        """Log in with a terminal and run this command."""
        return SshSession(self, command, size)

    def started(self) -> list[psutil.Process]:
        """Return the living processes that connections have started, except workers."""
        processes = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                ours = process.environ().get(MARK) == self.mark
                if (
                    ours
                    and process.status() != psutil.STATUS_ZOMBIE
                    and "dipddpm.core.launch.worker" not in process.cmdline()
                ):
                    processes.append(process)
        return processes

    def close(self) -> None:
        """End the sshd and its remaining sessions."""
        for process in [*self.process.children(recursive=True), *self.started()]:
            with contextlib.suppress(psutil.Error):
                if "dipddpm.core.launch.worker" not in process.cmdline():
                    process.kill()
        self.process.kill()
        self.process.wait()


class SshSession(Terminal):
    """A terminal that runs an ssh client."""

    def __init__(self, server: Server, command: str, size: tuple[int, int]) -> None:
        client = ["ssh", "-F", "none", "-tt", "-i", str(server.folder / "user"), "-p", str(server.port)]
        for option in ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"):
            client += ["-o", option]
        self._server = server
        self._others = {child.pid for child in server.process.children()}
        super().__init__(f"{pwd.getpwuid(os.getuid()).pw_name}@127.0.0.1", command, command=client, size=size)

    def wait(self, seconds: float) -> None:
        """Read the terminal for this many seconds, or until the client ends."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            self.read()

    def cut(self, how: str) -> None:
        """Cut the connection in one of the ways of `CUTS`."""
        if how == "silence":
            self.process.send_signal(signal.SIGSTOP)
            time.sleep(SILENT_SECONDS)
        sessions = [child for child in self._server.process.children() if child.pid not in self._others]
        if how == "terminal":
            self.close()
        elif how == "client" or not sessions:  # the server has not accepted the connection yet
            self.process.kill()
        for session in sessions if how in {"server", "silence"} else ():
            with contextlib.suppress(psutil.NoSuchProcess):
                session.kill()

    def give_up(self) -> None:
        """Kill the client and close the terminal."""
        self.process.kill()
        self.process.wait()
        self.close()


def moment(draw: random.Random) -> float:
    """Draw the seconds until a cut: often while programs start, sometimes before the login, sometimes late."""
    return draw.choice((draw.uniform(0.0, 1.0), draw.uniform(0.3, 2.5), draw.uniform(1.0, 5.0)))
