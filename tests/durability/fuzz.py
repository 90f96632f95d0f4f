"""Feed one target with inputs that a coverage-guided fuzzer makes: `python -m tests.durability.fuzz TARGET RUNS PLACE`.

A process of its own, because libFuzzer ends it. What broke the target is left in PLACE, and the exit code is then not
0; an input that takes over ten seconds, or too much memory, counts as broken too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

INSTRUMENTED = ["dipddpm", "tomllib", "json", "PIL"]
LONGEST = 4096
TIMEOUT_SECONDS = 10
MEGABYTES = 4096
"""torch alone takes half of one."""


def main(name: str, runs: str, output: str) -> None:
    """Fuzz until so many inputs have been tried."""
    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.durability import targets

        seeds, target = targets.seeds(name), targets.TARGETS[name]
        target(seeds[0])  # what is loaded late is loaded now
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
    """As libFuzzer's dictionaries have it."""
    return "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\' else f"\\x{b:02x}" for b in word.encode("latin-1"))


if __name__ == "__main__":
    main(*sys.argv[1:])
