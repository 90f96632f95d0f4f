"""Python, and the optional libraries that are installed."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata

from core.doctor.finding import Finding, note, ok

_EXTRA = re.compile(r"""^(?P<name>[A-Za-z0-9._-]+).*\bextra == ["'](?P<extra>[^"']+)["']""")


def python() -> Iterator[Finding]:
    """Which Python, and whether it is an environment of its own."""
    told = f"{platform.python_version()} at {sys.executable}, dipddpm {metadata.version('dipddpm')}"
    if sys.prefix == sys.base_prefix:
        yield note(
            "python", f"{told}, the system's own", "A virtual environment keeps others' updates away: see README."
        )
    else:
        yield ok("python", told)


def extras() -> Iterator[Finding]:
    """Which extras are here, and how to get the others."""
    wanted: dict[str, set[str]] = {}
    for requirement in metadata.requires("dipddpm") or []:
        if (found := _EXTRA.match(requirement)) and found["extra"] != "dev":
            wanted.setdefault(found["extra"], set()).add(found["name"])
    missing = sorted(extra for extra, names in wanted.items() if not all(map(_installed, names)))
    here = sorted(wanted.keys() - missing)
    told = f"here: {', '.join(here) or 'none'}" + f"; not here: {', '.join(missing)}" * bool(missing)
    yield ok("extras", told, f"More: pip install 'dipddpm[{','.join(missing)}]'" if missing else "")


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
