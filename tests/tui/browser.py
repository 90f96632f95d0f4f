"""Chromium without a window, driven by the protocol of its developer tools."""

from __future__ import annotations

import asyncio
import base64
import itertools
import shutil
from pathlib import Path
from typing import Any, Self

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_SECONDS = 90.0


def program() -> str:
    """The browser's path; empty where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), "")


class Browser:
    """One page: `async with Browser(folder, address) as page`."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.address = folder, address
        self.told: list[dict[str, Any]] = []
        """What the browser told unasked."""
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> Self:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        options += [f"--user-data-dir={self.folder}", "--remote-debugging-port=0", "--window-size=1280,800"]
        self.process = await asyncio.create_subprocess_exec(
            program(), *options, "about:blank", stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
        )
        self.session = aiohttp.ClientSession()
        await self.until(self._find_page, "the browser's own port")
        for what in ("Page.enable", "Network.enable", "Runtime.enable"):
            await self.ask(what)
        await self.ask("Emulation.setFocusEmulationEnabled", enabled=True)
        await self.ask("Page.navigate", url=self.address)
        await self.until(self._loaded, "the page loaded")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()
        self.process.terminate()
        await self.process.wait()

    async def _find_page(self) -> bool:
        try:
            port = (self.folder / "DevToolsActivePort").read_text().split()[0]
            async with self.session.get(f"http://127.0.0.1:{port}/json") as answer:
                page = next(each for each in await answer.json() if each["type"] == "page")
        except (OSError, IndexError, StopIteration, aiohttp.ClientError):
            return False
        self.socket = await self.session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)
        return True

    async def _loaded(self) -> bool:
        return bool(await self.value(f"document.readyState == 'complete' && location.href == '{self.address}'"))

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command and its result."""
        number = next(self._numbers)
        await self.socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            answer = await self.socket.receive_json(timeout=PATIENCE_SECONDS)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self.told.append(answer)

    async def value(self, expression: str) -> Any:
        """What an expression of JavaScript comes to in the page."""
        return (await self.ask("Runtime.evaluate", expression=expression, returnByValue=True))["result"].get("value")

    async def type(self, text: str) -> None:
        """Press keys."""
        for character in text:
            await self.ask("Input.dispatchKeyEvent", type="keyDown", text=character, key=character)
            await self.ask("Input.dispatchKeyEvent", type="keyUp", key=character)

    async def screenshot(self) -> bytes:
        """The page as a PNG."""
        return base64.b64decode((await self.ask("Page.captureScreenshot", format="png"))["data"])

    async def until(self, condition: Any, what: str) -> None:
        """Wait until something is so."""
        for _ in range(int(PATIENCE_SECONDS / 0.1)):
            if await condition():
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"never so: {what}")
