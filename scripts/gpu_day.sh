#!/bin/sh
# Measure everything that waits for a GPU, in the order of its worth; --help lists the options, docs/performance.md says
# how to bring it to a machine without network. PYTHON names the interpreter (default: python3).
#
#     scripts/gpu_day.sh FOLDER                   # in a checkout on the machine with the GPU
#     scripts/gpu_day.sh FOLDER --miniature       # every part at tiny sizes, on the CPU
#     scripts/gpu_day.sh --download-wheels DIR    # for a machine that lacks packages, which gets --wheels DIR
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" -P -m benchmarks.gpu "$@"
