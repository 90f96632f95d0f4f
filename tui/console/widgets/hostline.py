"""The line about the machine: GPUs, CPU, memory, and the queue. An idle machine repaints nothing."""

from __future__ import annotations

from rich.cells import cell_len
from rich.segment import Segment

from dipddpm.core.io.sanitize import printable
from dipddpm.tui.console.model.host import Gpu, HostSample
from dipddpm.tui.console.widgets.lines import LinesWidget, justify

HOT = 85
"""Degrees Celsius near which a GPU throttles."""
FULL = 0.95
"""Share of the GPU's memory from which it is shown as full."""


class HostLine(LinesWidget):
    """One line with as many facts about the machine as fit."""

    DEFAULT_CSS = """
    HostLine {
        height: 1;
        & > .host--name { text-style: bold; }
        & > .host--quiet { color: $foreground 60%; }
        & > .host--busy { color: $success; }
        & > .host--hot { color: $error; text-style: bold; }
    }
    """

    _sample: HostSample | None = None
    _queue = (0, 0)
    _runs_path = ""

    def show(self, sample: HostSample | None, queue: tuple[int, int] = (0, 0), runs_path: str = "") -> None:
        """Show the machine, the numbers of running and queued runs, and the runs folder."""
        self._sample, self._queue, self._runs_path = sample, queue, printable(runs_path, 200)
        self.redraw()

    def draw(self, width: int, height: int) -> list[list[Segment]]:
        """Return the machine's line: facts on the left, the most important first, and the queue on the right."""
        quiet = self.component_style("host--quiet")
        running, queued = self._queue
        right = [f"{running} running" if running else "", f"{queued} queued" if queued else ""]
        queue = "  ".join(filter(None, right)) or "idle"
        sample = self._sample
        if sample is None:
            return [justify([], [Segment(queue, quiet)], width)]
        facts = [[Segment(sample.hostname, self.component_style("host--name"))]]
        facts += [self._gpu(gpu, number, len(sample.gpus)) for number, gpu in enumerate(sample.gpus)]
        if not sample.gpus:
            facts.append([Segment("no GPU", quiet)])
        facts.append([Segment(f"cpu {sample.cpu}%", quiet)])
        facts.append([Segment(f"mem {sample.used_gb:.0f}/{sample.total_gb:.0f} GB", quiet)])
        room = width - cell_len(queue) - 1
        left: list[Segment] = []
        for fact in facts:
            gap = [Segment("   ")] if left else []
            if Segment.get_line_length([*left, *gap, *fact]) > room:
                break
            left += [*gap, *fact]
        end = [Segment(queue, self.component_style("host--busy") if running else quiet)]
        if self._runs_path and Segment.get_line_length(left) + cell_len(self._runs_path) + 3 <= room:
            end += [Segment("   " + self._runs_path, quiet)]
        return [justify(left, end, width)]

    def _gpu(self, gpu: Gpu, number: int, gpu_count: int) -> list[Segment]:
        """Return the use, memory, temperature and power of one GPU; no power if there are several GPUs."""
        name = f"{number}:{gpu.name}" if gpu_count > 1 else gpu.name
        use = "" if gpu.use is None else f" {gpu.use}%"
        memory = f"  {gpu.used_gb:.0f}/{gpu.total_gb:.0f} GB"
        full = gpu.total_gb > 0 and gpu.used_gb / gpu.total_gb > FULL
        segments = [
            Segment(printable(name, 30) + use, self.component_style("host--busy") if gpu.use else None),
            Segment(memory, self.component_style("host--hot") if full else None),
        ]
        if gpu.temperature is not None:
            hot = gpu.temperature >= HOT
            segments.append(Segment(f"  {gpu.temperature}°C", self.component_style("host--hot") if hot else None))
        if gpu.power is not None and gpu_count == 1:
            segments.append(Segment(f"  {gpu.power} W", self.component_style("host--quiet")))
        return segments
