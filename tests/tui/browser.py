"""Headless Chromium, controlled through the DevTools protocol."""

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
    """Return the browser's path; empty if there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), "")


class Browser:
    """A browser with one page: `async with Browser(folder, address) as page`."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.address = folder, address
        self.events: list[dict[str, Any]] = []
        """The events that the browser has sent."""
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> Self:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        options += [f"--user-data-dir={self.folder}", "--remote-debugging-port=0", "--window-size=1280,800"]
        self.process = await asyncio.create_subprocess_exec(
            program(), *options, "about:blank", stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
        )
        self.session = aiohttp.ClientSession()
        await self.until(self._find_page, "the browser's own port")
        for method in ("Page.enable", "Network.enable", "Runtime.enable"):
            await self.command(method)
        await self.command("Emulation.setFocusEmulationEnabled", enabled=True)
        await self.command("Page.navigate", url=self.address)
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

    async def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        number = next(self._numbers)
        await self.socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            answer = await self.socket.receive_json(timeout=PATIENCE_SECONDS)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self.events.append(answer)

    async def value(self, expression: str) -> Any:
        """Evaluate a JavaScript expression in the page."""
        return (await self.command("Runtime.evaluate", expression=expression, returnByValue=True))["result"].get(
            "value"
        )

    async def type(self, text: str) -> None:
        """Type a text."""
        for character in text:
            await self.command("Input.dispatchKeyEvent", type="keyDown", text=character, key=character)
            await self.command("Input.dispatchKeyEvent", type="keyUp", key=character)

    async def screenshot(self) -> bytes:
        """Return a screenshot of the page as PNG."""
        return base64.b64decode((await self.command("Page.captureScreenshot", format="png"))["data"])

    async def until(self, condition: Any, what: str) -> None:
        """Wait until the condition holds; fail the test if it never does."""
        for _ in range(int(PATIENCE_SECONDS / 0.1)):
            if await condition():
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"timed out waiting for: {what}")
