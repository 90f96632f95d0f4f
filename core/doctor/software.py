"""Python, and the optional libraries that are installed."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata

from dipddpm.core.doctor.finding import Finding, note, ok

_EXTRA = re.compile(r"""^(?P<name>[A-Za-z0-9._-]+).*\bextra == ["'](?P<extra>[^"']+)["']""")


def python() -> Iterator[Finding]:
    """Which Python, and whether it is an environment of its own."""
    message = f"{platform.python_version()} at {sys.executable}, dipddpm {metadata.version('dipddpm')}"
    if sys.prefix == sys.base_prefix:
        yield note(
            "python", f"{message}, the system's own", "A virtual environment keeps others' updates away: see README."
        )
    else:
        yield ok("python", message)


def extras() -> Iterator[Finding]:
    """Which extras are here, and how to get the others."""
    wanted: dict[str, set[str]] = {}
    for requirement in metadata.requires("dipddpm") or []:
        if (match := _EXTRA.match(requirement)) and match["extra"] != "dev":
            wanted.setdefault(match["extra"], set()).add(match["name"])
    missing = sorted(extra for extra, names in wanted.items() if not all(map(_installed, names)))
    installed = sorted(wanted.keys() - missing)
    message = f"here: {', '.join(installed) or 'none'}" + f"; not here: {', '.join(missing)}" * bool(missing)
    yield ok("extras", message, f"More: pip install 'dipddpm[{','.join(missing)}]'" if missing else "")


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
