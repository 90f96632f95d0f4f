"""The panes by name. A pane's module is loaded when the pane is first shown, so that the list needn't wait for it."""

from __future__ import annotations

from collections.abc import Callable

from dipddpm.tui.console.panes.view import Pane
from dipddpm.tui.console.preferences import PaneName


def _live() -> type[Pane]:
    from dipddpm.tui.console.panes.live import LivePane

    return LivePane


def _images() -> type[Pane]:
    from dipddpm.tui.console.panes.images import ImagesPane

    return ImagesPane


def _log() -> type[Pane]:
    from dipddpm.tui.console.panes.log import LogPane

    return LogPane


def _config() -> type[Pane]:
    from dipddpm.tui.console.panes.config import ConfigPane

    return ConfigPane


def _compare() -> type[Pane]:
    from dipddpm.tui.console.panes.compare import ComparePane

    return ComparePane


PANES: dict[PaneName, Callable[[], type[Pane]]] = {
    "live": _live,
    "images": _images,
    "log": _log,
    "config": _config,
    "compare": _compare,
}
