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
BEST, LAST = "best.safetensors", "last.safetensors"
SKIPPED = {"slots", "torchinductor", "console"}
"""Folders that another machine has no use for."""


def pack(runs: Path, output: Path) -> list[str]:
    """Pack the runs into output/runs.tar.0 and following; return the names of the files that were left out.

    The files that matter most come first: records and pictures, best models, and checkpoints of unfinished runs. What
    exceeds the volumes is left out.
    """
    buffer, left_out = io.BytesIO(), []
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(_files(runs), key=lambda path: (path.name == LAST, path.name == BEST, path)):
            if buffer.tell() + path.stat().st_size + (1 << 16) > VOLUMES * VOLUME:
                left_out.append(path.name)
                continue
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
        tar.extractall(runs, filter="data")


def _volume(output: Path, number: int) -> Path:
    return output / f"{NAME}.{number}"


def _files(runs: Path) -> list[Path]:
    """Return the files of all runs, without the last checkpoints of finished runs."""
    files = [path for path in runs.rglob("*") if path.is_file() and not path.is_symlink()]
    files = [path for path in files if not SKIPPED & set(path.relative_to(runs).parts)]
    return [path for path in files if path.name != LAST or not _is_finished(path.parents[1])]


def _is_finished(run: Path) -> bool:
    try:
        phase = json.loads(atomic.read(run / "summary.json"))["phase"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(phase == "finished")
