"""The process of one part: `python -m benchmarks.gpu.child PATH SECONDS RECORDS SETTINGS`."""

from __future__ import annotations

import importlib
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.gpu.parts import Settings
from benchmarks.gpu.records import Figure, Note, encode, encode_machine

Measure = Callable[[Settings, float], Iterator[Figure | Note]]
"""A part: it takes the settings and the time, in seconds of `time.monotonic`, at which it must have ended."""


def main() -> None:
    """Run a part, and append each of its records to a file at once."""
    path, seconds, records, settings = sys.argv[1:]
    until = time.monotonic() + float(seconds)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("The time of this part is over."))
    given = Settings(**json.loads(settings))
    module, _, name = path.partition(":")
    with Path(records).open("a", encoding="utf-8") as file:

        def write(line: str) -> None:
            file.write(line + "\n")
            file.flush()

        write(encode_machine(machine(given.device)))
        measure: Measure = getattr(importlib.import_module(module), name)
        for record in measure(given, until):
            write(encode(record))
            print(record, flush=True)


def machine(device: str) -> dict[str, str]:
    """Return the facts of this machine that every figure carries."""
    import pynvml
    import torch

    from dipddpm.core.compute import devices
    from dipddpm.core.runs.environment import program_version

    driver = ""
    try:
        pynvml.nvmlInit()
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        pass
    card = devices.describe(devices.resolve(devices.candidates(device)[0]))
    return {
        "card": card if device != "cpu" else f"{card}, {os.cpu_count()} cores",
        "driver": f"driver {driver}" if driver else "",
        "torch": f"torch {torch.__version__}",
        "python": platform.python_version(),
        "program": program_version(),
    }


if __name__ == "__main__":
    main()
