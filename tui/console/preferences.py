"""The preferences, stored in the user's config folder: theme, sort order, filter, axes, pane and more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec

from dipddpm.core.errors import UserError
from dipddpm.core.io import atomic, home, output
from dipddpm.tui.console.model.curves import Axis

PaneName = Literal["live", "images", "log", "config", "compare"]
PANES: tuple[PaneName, ...] = get_args(PaneName)

FILE_NAME = "console.toml"
SMOOTHING_WEIGHTS = (0.0, 0.6, 0.9, 0.98)
ASCENDING_COLUMNS = {"best_loss", "name", "kind", "method", "state"}
"""Columns first sorted in ascending order; the others in descending order."""


class Preferences(msgspec.Struct, kw_only=True):
    """The last used settings. Values in the file that are unknown or invalid count as not set."""

    theme: Literal["night", "day", "clear", "plain"] = "night"
    sort: str = "created"
    descending: bool = True
    filter: Annotated[str, msgspec.Meta(max_length=500)] = ""
    axis: Axis = "step"
    log_y: bool = False
    smoothing: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.6
    pane: PaneName = "live"
    list_width: Annotated[int, msgspec.Meta(ge=0, le=200)] = 0
    """Width of the run list in columns; 0 chooses it by the terminal's width."""
    bell: bool = True
    """Ring the bell and send a desktop notification when a run ends, fails or stalls."""
    hook: str = ""
    """A shell command run on the same occasions, with DIPDDPM_RUN, DIPDDPM_STATE and DIPDDPM_TEXT set."""

    def sort_by(self, key: str) -> None:
        """Sort by this column; if it is already sorted by, reverse the order."""
        self.descending = not self.descending if key == self.sort else key not in ASCENDING_COLUMNS
        self.sort = key

    def turn_smoothing(self) -> None:
        """Switch to the next smoothing weight."""
        index = SMOOTHING_WEIGHTS.index(self.smoothing) if self.smoothing in SMOOTHING_WEIGHTS else 0
        self.smoothing = SMOOTHING_WEIGHTS[(index + 1) % len(SMOOTHING_WEIGHTS)]

    def turn_axis(self, axes: Sequence[Axis]) -> None:
        """Switch to the next of these x axes."""
        self.axis = axes[(axes.index(self.axis) + 1) % len(axes)] if self.axis in axes else axes[0]


def preferences_path() -> Path | None:
    """Return the file of the preferences, in `$XDG_CONFIG_HOME/dipddpm`, else `~/.config/dipddpm`, or None."""
    base = home.user_folder("XDG_CONFIG_HOME", ".config")
    return base / "dipddpm" / FILE_NAME if base else None


def load() -> Preferences:
    """Read the preferences; missing and invalid values get their defaults."""
    path = preferences_path()
    try:
        stored = msgspec.toml.decode(path.read_bytes() if path else b"")
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Preferences()
    valid = {key: value for key, value in stored.items() if _valid(key, value)}
    return msgspec.convert(valid, Preferences)


def save(preferences: Preferences) -> None:
    """Write the preferences if they have changed. Raises UserError if they can't be stored."""
    if preferences == load():
        return
    path = preferences_path()
    remedy = "Set XDG_CONFIG_HOME to a folder that can be written."
    if path is None:
        raise UserError("The console's preferences can't be stored: there is no home folder.", remedy)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_atomic(path, msgspec.toml.encode(preferences), durable=False)
    except OSError as error:
        problem = f"The console's preferences can't be stored in {path.parent}: {error.strerror}."
        if error.errno in output.FULL_DISK:
            remedy = "Free some space there, or set XDG_CONFIG_HOME to a folder on another disk."
        raise UserError(problem, remedy) from None


def _valid(key: str, value: object) -> bool:
    try:
        msgspec.convert({key: value}, Preferences)
    except msgspec.ValidationError:
        return False
    return True
