"""The user's home folder and name. A container's user may have neither: no `HOME` and no entry in /etc/passwd."""

from __future__ import annotations

import contextlib
import getpass
import os
from pathlib import Path

from dipddpm.core.errors import UserError


def user_folder(variable: str, below_home: str) -> Path | None:
    """Return the folder that an XDG variable names, else this folder below the home folder; None without a home.

    By the XDG specification, a relative path in the variable is ignored, and so is one in HOME.
    """
    if (chosen := Path(os.environ.get(variable, ""))).is_absolute():
        return chosen
    with contextlib.suppress(RuntimeError):
        if (home := Path.home()).is_absolute():
            return home / below_home
    return None


def expand(path: Path | str) -> Path:
    """Replace a leading `~` or `~USER` by the home folder; a file name that only begins with `~` stays as it is.

    Raises UserError if there is no such home folder.
    """
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError:
        if path.parts[0] == "~":
            problem = f"{path} is below the home folder, but HOME is not set and this user has no home folder."
            raise UserError(problem, "Write the whole path, or set HOME.") from None
        if len(path.parts) > 1 and not os.path.lexists(path):
            problem = f"{path} is below the home folder of {path.parts[0][1:]}, and this machine has no such user."
            raise UserError(problem, "Write the whole path.") from None
        return path


def user_name() -> str:
    """Return the user's name, or the user's number if there is no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
