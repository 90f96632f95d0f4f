# `just` lists these recipes. `pip install rust-just` brings it; `just setup` makes the environment that they use.

bin := ".venv/bin"

# List the recipes.
[private]
default:
    @just --list --unsorted

# Make .venv with the pinned packages, and install the checkout into it.
setup:
    python3 -m venv .venv && {{ bin }}/pip install --require-hashes -r constraints.txt && {{ bin }}/pip install --no-deps -e .

# Format the code, and mend what ruff can mend.
fmt:
    {{ bin }}/ruff format . && {{ bin }}/ruff check --fix .

# Check the format, the code, and which module may import which.
lint:
    {{ bin }}/ruff format --check . && {{ bin }}/ruff check . && {{ bin }}/lint-imports

# Check the types.
types:
    {{ bin }}/mypy

# Run the tests that are fast and start no process.
test-fast *arguments:
    {{ bin }}/python -m pytest -n 3 --dist worksteal -m "not slow and not process and not durability" {{ arguments }}

# Run the tests, with coverage.
test *arguments:
    {{ bin }}/python -m pytest -n 3 --dist worksteal --cov {{ arguments }}

# Kill workers, cut SSH lines and fail disks, from a checkout that nobody edits meanwhile.
durability *arguments:
    {{ bin }}/python -m pytest -m durability {{ arguments }}

# Compare a GPU with the CPU; skipped without one.
gpu *arguments:
    {{ bin }}/python -m pytest -m gpu {{ arguments }}

# Measure what the README's tables say; without arguments, list the parts.
bench *arguments:
    {{ bin }}/python -m benchmarks {{ arguments }}

# Build the documentation site into build/site.
docs:
    {{ bin }}/zensical build --strict --clean

# Draw the pictures of the console in the README again.
screenshots *arguments:
    {{ bin }}/python -m scripts.screenshots {{ arguments }}

# Pin what .venv holds in constraints.txt; needs uv.
constraints:
    scripts/make_constraints.sh

# Build the wheel into dist/.
wheel:
    {{ bin }}/python -m build --wheel

# Check everything that must hold before a change is taken.
ci:
    .ci/run
