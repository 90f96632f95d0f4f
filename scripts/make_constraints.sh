#!/usr/bin/env bash
# Write constraints.txt: the version and hashes of every package in .venv that the project requires.
#
#     scripts/make_constraints.sh [ENVIRONMENT]
#
# ENVIRONMENT, by default .venv, gives the versions; the tests have passed in it. uv adds the hashes and the markers under
# which Python 3.11 and later on Linux need a package. A version with a local label (torch 2.14.1+cpu) is pinned
# without the label, because only one index has that file.
set -euo pipefail
cd "$(dirname "$0")/.."

environment=${1:-.venv}
installed=$(mktemp)
resolved=$(mktemp)
trap 'rm -f "$installed" "$resolved"' EXIT

# --all, because `pip freeze` leaves out setuptools, which some packages import while they run.
"$environment/bin/python" -m pip freeze --all --exclude-editable | sed -E '/^#/d; s/\+.*$//' >"$installed"

# uv ignores its config and local folders of wheels, so that the file also resolves on other machines.
env -u UV_FIND_LINKS -u PIP_FIND_LINKS uv --no-config pip compile pyproject.toml --extra dev \
  --constraints "$installed" --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet --output-file "$resolved" >/dev/null

{
  cat <<'HEADER'
# The versions that the tests pass with, and the hashes of their files, for Python 3.11 to 3.13 on Linux.
# Made by `just constraints`; don't edit.
#
#     pip install --require-hashes -r constraints.txt && pip install --no-deps -e .
#
# These are two steps because pip has no hash for an editable project: `pip install -c constraints.txt -e .` refuses.
HEADER
  cat "$resolved"
} >constraints.txt
