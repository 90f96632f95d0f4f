"""The console in a browser: its page, the requests that are refused, and that no process is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pyte
import pytest
from PIL import Image

from tests.tui.browser import Browser, program
from tests.tui.driving import Maker

PATIENCE_SECONDS = 60.0
COMMAND = [sys.executable, "-P", "-m", "dipddpm.tui.console.__main__", "--serve"]


class Served:
    """A server on a free port, and the lines that it has printed."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen([*COMMAND, "--port", "0", *options], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.printed = "".join(self.process.stdout.readline() for _ in range(3))
        (self.address,) = re.findall(r"http://localhost:\d+/\S+/", self.printed)
        (self.port,) = map(int, re.findall(r"localhost:(\d+)/", self.printed))

    @property
    def consoles(self) -> list[psutil.Process]:
        """The processes of the server's consoles, without the shells that started them."""
        return [each for each in psutil.Process(self.process.pid).children(recursive=True) if each.name() != "sh"]


@pytest.fixture
def serve(make: Maker) -> Iterator[Callable[..., Served]]:
    """Serve the test's runs folder."""
    make("ddpm", name="first-of-all")
    servers: list[Served] = []

    def begin(*options: str) -> Served:
        servers.append(Served(*options))
        return servers[-1]

    yield begin
    for server in servers:
        server.process.terminate()
        server.process.communicate(timeout=PATIENCE_SECONDS)


class Page:
    """A replacement of the browser's page: a socket, and an emulated screen that shows the bytes received."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.screen = pyte.Screen(120, 40)
        self.stream = pyte.ByteStream(self.screen)

    async def until_seen(self, words: str) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while words not in "\n".join(self.screen.display):
                message = await self.socket.receive()
                assert message.type == aiohttp.WSMsgType.BINARY, message
                with contextlib.suppress(Exception):  # pyte knows fewer sequences than terminals do
                    self.stream.feed(message.data)

    async def type(self, keys: str) -> None:
        await self.socket.send_json(["stdin", keys])


@contextlib.asynccontextmanager
async def opened(address: str) -> AsyncIterator[Page]:
    """Open the page at an address, with its console running."""
    async with aiohttp.ClientSession() as session:
        async with session.get(address) as answer:
            (target,) = re.findall('data-session-websocket-url="([^"]+)"', await answer.text())
        async with session.ws_connect(f"{target}?width=120&height=40") as websocket:
            yield Page(websocket)


async def status(address: str, **headers: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(address, headers=headers) as answer:
        return answer.status, await answer.text()


async def gone(processes: list[psutil.Process]) -> None:
    assert processes
    _, left = await asyncio.to_thread(psutil.wait_procs, processes, PATIENCE_SECONDS)
    assert not left


async def test_served_page_shows_console_and_ends_it_on_close(serve: Callable[..., Served]) -> None:
    server = serve("--readonly")
    assert f"ssh -L {server.port}:localhost:{server.port} " in server.printed
    async with opened(server.address) as page:
        await page.until_seen("first-of-all")
        consoles = server.consoles
        assert "--readonly" in consoles[0].cmdline()
        await page.type("?")
        await page.until_seen("Keys")
    await gone(consoles)
    # Ctrl-C ends the server, and the consoles with it.
    async with opened(server.address) as page:
        await page.until_seen("first-of-all")
        consoles = server.consoles
        server.process.send_signal(signal.SIGINT)
        await gone(consoles)
        assert await asyncio.to_thread(server.process.wait, PATIENCE_SECONDS) == 0


async def test_server_refuses_wrong_address_host_or_origin(serve: Callable[..., Served]) -> None:
    server = serve()
    root = f"http://localhost:{server.port}"
    assert (await status(server.address))[0] == 200
    for wrong in (f"{root}/", f"{root}/ws", f"{root}/static/js/textual.js", f"{server.address[:-3]}xx/"):
        code, text = await status(wrong)
        assert (code, "no console at this address" in text) == (404, True)
    # A foreign host name that resolves to this machine, and another site's page that knows the address.
    assert (await status(server.address, Host=f"evil.example:{server.port}"))[0] == 403
    assert (await status(f"{server.address}ws", Origin="http://evil.example"))[0] == 403
    assert (await status(f"{server.address}ws", Origin=f"http://localhost:{server.port + 1}"))[0] == 403
    # Through a tunnel from another port, the page connects to that port.
    assert "ws://127.0.0.1:9/" in (await status(server.address, Host="127.0.0.1:9"))[1]
    assert server.consoles == []


async def test_server_listens_on_loopback_and_its_consoles_die_with_it(serve: Callable[..., Served]) -> None:
    server = serve()
    listening = [each for each in psutil.Process(server.process.pid).net_connections() if each.status == "LISTEN"]
    assert [each.laddr.ip for each in listening] == ["127.0.0.1"]
    async with opened(server.address) as page:
        await page.until_seen("first-of-all")
        consoles = server.consoles
        server.process.kill()
        await gone(consoles)


def test_serve_reports_taken_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run([*COMMAND, "--port", port], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"Port {port} is taken.\nChoose another one with --port, or 0 for any free port.\n"


def test_serve_names_missing_extra(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    from dipddpm.tui.console.__main__ import main

    monkeypatch.setitem(sys.modules, "textual_serve.server", None)
    monkeypatch.delitem(sys.modules, "dipddpm.tui.console.serve", raising=False)
    assert main(["--serve"]) == 2
    assert "pip install 'dipddpm[serve]'" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--serve", "--once"], ["--serve", "--port", "70000"], ["--serve", "--port", "x"]])
def test_serve_refuses_bad_options(options: list[str]) -> None:
    from dipddpm.tui.console.__main__ import main

    with pytest.raises(SystemExit) as ended:
        main(options)
    assert ended.value.code == 2


@pytest.mark.slow
@pytest.mark.skipif(not program(), reason="there is no Chromium here")
async def test_served_page_is_drawn_by_chromium(serve: Callable[..., Served], tmp_path: Path) -> None:
    server = serve()

    def colours(png: bytes) -> dict[tuple[int, ...], int]:
        counts = Image.open(io.BytesIO(png)).convert("RGB").getcolors(1 << 24)
        assert counts is not None
        return {colour: count for count, colour in counts if isinstance(colour, tuple)}

    async with Browser(tmp_path / "profile", server.address) as page:

        async def drawn() -> bool:
            # Antialiased letters have many colours; a blank page has one or two.
            return len(colours(await page.screenshot())) > 100

        await page.until(drawn, "the console drawn")
        before = colours(await page.screenshot())
        await page.type("?")

        async def dimmed() -> bool:
            background = max(before, key=lambda colour: before[colour])
            return colours(await page.screenshot()).get(background, 0) < before[background] / 2

        await page.until(dimmed, "the help above it")
        await page.type("qq")

        async def closed() -> bool:
            return bool(await page.value("document.body.classList.contains('-closed')"))

        await page.until(closed, "the end of the console")
        requests = [each for each in page.events if each["method"] == "Network.requestWillBeSent"]
        sent = [each["params"]["request"]["url"] for each in requests]
        failed = [
            each for each in page.events if each["method"] in {"Network.loadingFailed", "Runtime.exceptionThrown"}
        ]
    assert sent and all(url.startswith((server.address, "data:")) for url in sent)
    assert not failed
