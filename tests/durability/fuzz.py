"""Run one target on inputs of a coverage-guided fuzzer: `python -m tests.durability.fuzz TARGET RUNS FOLDER`.

This is a separate process, because libFuzzer ends its process. Inputs that break the target are written to FOLDER, and
the exit code is then not 0. An input that takes over ten seconds, or too much memory, breaks the target too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

INSTRUMENTED = ["dipddpm", "tomllib", "json", "PIL"]
LONGEST = 4096
TIMEOUT_SECONDS = 10
MEGABYTES = 4096
"""The memory limit; torch alone takes half a gigabyte."""


def main(name: str, runs: str, output: str) -> None:
    """Fuzz a target until `runs` inputs have been tried."""
    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.durability import targets

        seeds, target = targets.seeds(name), targets.TARGETS[name]
        target(seeds[0])  # so that late imports happen before fuzzing
    folder = Path(output)
    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number:03d}").write_bytes(seed)
    dictionary = folder / "words"
    dictionary.write_text("".join(f'"{_quoted(word)}"\n' for word in sorted(targets.words(name))))
    options = {
        "runs": runs,
        "max_len": LONGEST,
        "timeout": TIMEOUT_SECONDS,
        "rss_limit_mb": MEGABYTES,
        "dict": dictionary,
        "artifact_prefix": f"{folder}/broken-",
        "seed": 1,
        "verbosity": 0,
        "print_final_stats": 1,
    }
    atheris.Setup([sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), str(corpus)], target)
    atheris.Fuzz()


def _quoted(word: str) -> str:
    """Escape a word as libFuzzer's dictionaries require."""
    return "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\' else f"\\x{b:02x}" for b in word.encode("latin-1"))


if __name__ == "__main__":
    main(*sys.argv[1:])
