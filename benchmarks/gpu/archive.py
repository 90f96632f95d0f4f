"""The runs of the parts, packed into few files of limited size, from which another machine continues them.

Needs the standard library alone.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from dipddpm.core.io import atomic

VOLUME = 15 << 20
VOLUMES = 4
"""Largest number of files; with the results and the log they are at most 8."""
NAME = "runs.tar"
LAST = "last.safetensors"
TAR_BLOCKS = 4096
"""More than tar adds to a file."""
END = 16384
"""More than tar adds at the end."""
SKIPPED = {"slots", "torchinductor", "console"}
"""Folders that another machine has no use for."""


def pack(runs: Path, output: Path) -> list[str]:
    """Pack the runs into output/runs.tar.0 and following; return the names of the runs that were left out.

    Finished runs come first, without their last checkpoints. A run that doesn't fit is left out whole, since an
    unfinished one can't be continued without its checkpoint.
    """
    buffer, left_out = io.BytesIO(), []
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for entry in sorted(runs.iterdir(), key=lambda path: (path.is_dir() and not _is_finished(path), path)):
            files = _files(entry)
            if buffer.tell() + sum(path.stat().st_size + TAR_BLOCKS for path in files) > VOLUMES * VOLUME - END:
                left_out.append(entry.name)
                continue
            for path in files:
                tar.add(path, path.relative_to(runs).as_posix(), recursive=False)
    content = buffer.getvalue()
    count = -(-len(content) // VOLUME)
    for number in range(count):
        atomic.write_atomic(_volume(output, number), content[number * VOLUME : (number + 1) * VOLUME])
    for number in range(count, VOLUMES):
        _volume(output, number).unlink(missing_ok=True)
    return left_out


def unpack(output: Path, runs: Path) -> None:
    """Unpack the runs of an earlier machine, unless this machine has runs already."""
    if runs.is_dir() and any(runs.iterdir()):
        return
    volumes = [path for number in range(VOLUMES) if (path := _volume(output, number)).is_file()]
    if not volumes:
        return
    runs.mkdir(parents=True, exist_ok=True)
    content = b"".join(path.read_bytes() for path in volumes)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:  # `extractall` has its safe filter only since Python 3.11.4
            path = (runs / member.name).resolve()
            if member.isfile() and path.is_relative_to(runs.resolve()) and (file := tar.extractfile(member)):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.read())


def _volume(output: Path, number: int) -> Path:
    return output / f"{NAME}.{number}"


def _files(entry: Path) -> list[Path]:
    """Return the files of a run, without the last checkpoint if it is finished; or a single file."""
    if entry.name in SKIPPED:
        return []
    finished = _is_finished(entry)
    files = [path for path in (entry, *sorted(entry.rglob("*"))) if path.is_file() and not path.is_symlink()]
    return [path for path in files if not (finished and path.name == LAST)]


def _is_finished(run: Path) -> bool:
    try:
        phase = json.loads(atomic.read(run / "summary.json"))["phase"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(phase == "finished")
