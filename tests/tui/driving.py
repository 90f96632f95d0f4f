"""Run folders as a worker would write them, and a console driven without a terminal."""

from __future__ import annotations

import asyncio
import math
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Static

from dipddpm.core import config, events
from dipddpm.core.runs import EventLog, Run, RunsFolder, heartbeat
from dipddpm.tui.cli.main import main
from dipddpm.tui.console.app import DipddpmApp
from dipddpm.tui.console.background import is_working
from dipddpm.tui.console.model.series import RunSeries
from dipddpm.tui.console.reader import Reader
from dipddpm.tui.console.screens.main import MainScreen

SMALL, LARGE = (80, 24), (120, 40)
TIMEOUT_SECONDS = 60.0


class Maker:
    """Makes run folders, each a minute older than the previous one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.made = 0
        self.processes: list[subprocess.Popen[bytes]] = []
        """Processes that replace the workers of live runs."""

    def __call__(
        self,
        kind: str = "ddpm",
        *,
        state: str = "finished",
        losses: list[float] | None = None,
        psnr: list[float] | None = None,
        settings: dict[str, Any] | None = None,
        **named: Any,
    ) -> Run:
        """Make a run with an epoch for each loss and a measurement for each PSNR; the first one made is the newest."""
        at = time.time() - 60 - 60 * self.made
        run_config = config.build(kind, settings={**(settings or {}), **named})
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(at))
        run = Run(self.root / f"{stamp}-{kind}-{self.made:04x}")
        self.made += 1
        for name in ("images", "checkpoints"):
            (run.folder / name).mkdir(parents=True)
        (run.folder / "config.toml").write_text(config.to_toml(run_config))
        self._log(run, run_config, state, losses if losses is not None else [0.3, 0.2, 0.1], psnr or [], at)
        if state == "running":
            self.processes.append(subprocess.Popen(["sleep", "300"]))
            identity = heartbeat.process_identity(self.processes[-1].pid)
            assert identity is not None
            heartbeat.write(
                run.folder, heartbeat.Worker(identity, alive=time.time(), progressed=time.time(), device="cpu")
            )
        return run

    @staticmethod
    def _log(  # noqa: PLR0917
        run: Run, run_config: config.AnyRun, state: str, losses: list[float], psnr: list[float], at: float
    ) -> None:
        log = EventLog(run.folder)
        epochs = 0 if run_config.kind == "dip" else max(1, len(losses))
        steps = max(1, 10 * len(losses or psnr))
        log.append(
            events.RunStarted(
                kind=run_config.kind,
                method=run_config.method,
                device="cpu",
                epochs=epochs,
                steps=steps,
                images=100,
                time=at,
            )
        )
        best = math.inf
        for number, loss in enumerate(losses if epochs else [], start=1):
            log.append(events.Step(step=10 * number, epoch=number, loss=loss, lr=0.001, time=at + number))
            log.append(
                events.EpochFinished(epoch=number, step=10 * number, loss=loss, best=loss < best, time=at + number)
            )
            if loss < best:
                best = loss
                log.append(
                    events.BestModelStored(
                        step=10 * number,
                        epoch=number,
                        value=loss,
                        file="checkpoints/best.safetensors",
                        sha256="0" * 64,
                        time=at + number,
                    )
                )
        for number, value in enumerate(psnr, start=1):
            log.append(
                events.PsnrMeasured(
                    step=10 * number, psnr=[value, value + 1], mean=value + 0.5, loss=[0.1, 0.1], time=at + number
                )
            )
        end = {
            "finished": events.RunFinished(seconds=3.0, step=steps, time=at + 30),
            "stopped": events.RunStopped(reason="asked to stop", step=10, time=at + 30),
            "failed": events.RunFailed(
                error="The device ran out of memory.", hint="Lower the batch.", step=10, time=at + 30
            ),
        }.get(state)
        if end is not None:
            log.append(end)
        log.close()


def add_picture(run: Run, name: str, step: int, shade: int) -> None:
    """Store a grey picture and log it."""
    file = f"images/{name}-{step:06d}.png"
    Image.new("L", (28, 28), shade).save(run.folder / file)
    log = EventLog(run.folder)
    log.append(events.ImageSaved(file=file, name=name, step=step, title=f"{name} at {step}"))
    log.close()


def is_idle(app: App[None]) -> bool:
    """Return whether no background work is in progress, all messages are handled and the screen is drawn."""
    front = app.screen
    if is_working() or front._callbacks or front._layout_required or front._dirty_widgets or app._batch_count:
        return False
    widgets = [app, *(widget for screen in app.screen_stack for widget in screen.walk_children(with_self=True))]
    return all(each._is_mounted and not each.message_queue_size and not each._next_callbacks for each in widgets)


async def until_idle(pilot: Pilot[None]) -> None:
    """Wait until the app is idle.

    Textual's `pause()` concludes this from the CPU time used, which says nothing on a busy machine.
    """
    deadline = time.monotonic() + TIMEOUT_SECONDS
    quiet = 0
    await pilot.pause(0)
    while pilot.app.is_running and quiet < 2:  # the result of work that has just ended arrives after the first time
        assert time.monotonic() < deadline, "the app is never idle"
        if is_idle(pilot.app):
            quiet += 1
            await asyncio.sleep(0)
        else:
            quiet = 0
            await pilot.pause(0.005 if is_working() else 0)


class CountingQueue(queue.SimpleQueue[Callable[[], object]]):
    """A queue that counts its entries."""

    count = 0

    def put(self, item: Callable[[], object], block: bool = True, timeout: float | None = None) -> None:
        """Add an entry."""
        self.count += 1
        super().put(item, block, timeout)


class ObservedReader(Reader):
    """A reader whose progress a test can wait for."""

    def __init__(self, root: Path, rate: float) -> None:
        super().__init__(root, rate)
        self._commands: CountingQueue = CountingQueue()
        self._requests: list[threading.Event] = []

    @property
    def commands(self) -> int:
        """The number of commands sent to the reader."""
        return self._commands.count

    def request_poll(self) -> threading.Event:
        """Return an event that is set once the reader has run all commands sent so far, and has polled after them."""
        polled = threading.Event()
        self._commands.put(lambda: self._requests.append(polled))
        return polled

    def _poll(self) -> None:
        requests, self._requests = self._requests, []
        try:
            super()._poll()
        finally:
            for polled in requests:
                polled.set()


class Driver:
    """A console without a terminal: presses its keys and reads its screen.

    After `press` and `until`, and when a test begins, the console has settled: it shows all that the keys and the
    files at that time lead to. So a test can assert on the screen at once, also that something is not there.
    """

    def __init__(self, app: DipddpmApp, pilot: Pilot[None], reader: ObservedReader) -> None:
        self.app = app
        self.pilot = pilot
        self.reader = reader

    @property
    def main(self) -> MainScreen:
        """The main screen, even while a dialog covers it."""
        screen = self.app.screen_stack[0]
        assert isinstance(screen, MainScreen)
        return screen

    @property
    def selected(self) -> str:
        """The id of the run under the cursor."""
        return self.main.row.id if self.main.row else ""

    def series(self) -> RunSeries:
        """Return the series of the run under the cursor."""
        series = self.main.series_of(self.selected)
        assert series is not None
        return series

    def text(self) -> str:
        """Return the text on the screen."""
        strips = self.app.screen._compositor.render_strips()
        return "\n".join(strip.text.rstrip() for strip in strips)

    def notifications(self) -> str:
        """Return the texts of all notices, without line breaks."""
        return "\n".join(notification.message for notification in self.app._notifications)

    def dialog(self) -> str:
        """Return the texts of the dialog in front, without the screen's line breaks."""
        return "\n".join(str(text.content) for text in self.app.screen.query(Static))

    async def settle(self) -> None:
        """Wait until the background work, the reader and the screen have nothing left to do.

        Work may lead to more work: a key to a request to the reader, its answer to a picture read in the background.
        """
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self.app.is_running:
            assert time.monotonic() < deadline, f"the console never settles\n{self.text()}"
            await until_idle(self.pilot)
            if self._cursor_moved():
                await asyncio.sleep(0.005)
                continue
            polled = self.reader.request_poll()
            commands = self.reader.commands
            while not polled.is_set() and self.reader.is_alive():
                await asyncio.sleep(0.002)
            await until_idle(self.pilot)
            if self.reader.commands == commands and not self._cursor_moved():
                return

    def _cursor_moved(self) -> bool:
        """Return whether the cursor has moved so recently that the run under it isn't read yet."""
        timer = self.main._rest_timer
        return timer is not None and timer._task is not None and not timer._task.done()

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other; the console settles after each."""
        for key in keys:
            await self.pilot.press(key)
            await self.settle()

    async def resize(self, width: int, height: int) -> None:
        """Give the terminal another size."""
        await self.pilot.resize_terminal(width, height)
        await self.settle()

    async def write(self, text: str) -> None:
        """Type a text."""
        await self.press(*["space" if character == " " else character for character in text])

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Wait until the condition holds and the console has settled; fail the test if it never does."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"timed out waiting for: {what}\n{self.text()}"
            await self.pilot.pause(0.02)
        await self.settle()

    async def until_seen(self, words: str) -> None:
        """Wait until these words are on the screen."""
        await self.until(lambda: words in self.text(), words)

    async def until_dialog(self, words: str) -> None:
        """Wait until the dialog in front contains these words."""
        await self.until(lambda: words in self.dialog(), words)


Opener = Callable[..., AbstractAsyncContextManager[Driver]]


def make_trained_run(
    runs: RunsFolder, classes: int = 0, size: tuple[int, int] = (12, 10), settings: Mapping[str, Any] | None = None
) -> Run:
    """Make a run with a best model: a tiny network with random weights."""
    import torch

    from dipddpm.core.compute import checkpoint
    from dipddpm.core.ddpm.networks.unet import UNet

    small = {"unet.channels": "8,8", "ddpm.network": "unet", "ddpm.timesteps": 40, "ddpm.objective": "v"}
    run_config = config.build("ddpm", settings=small | {"ddpm.conditional": classes > 0, **(settings or {})})
    assert isinstance(run_config, config.DdpmRun)
    run = runs.create(run_config)
    torch.manual_seed(0)
    network = UNet.for_images((1, *size), run_config, classes)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    checkpoint.save(run.folder / "checkpoints" / "best.safetensors", {}, network)
    return run


def dipddpm(*arguments: str | Path) -> int:
    """Run a command in this process and return its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)
