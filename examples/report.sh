#!/usr/bin/env bash
# Write the figures, tables and an HTML report of every run of a group, and a table that compares the runs.
#
#     examples/report.sh night
#     examples/report.sh night paper dip.lr    # into the folder paper, a line for each value of dip.lr
#
# The first argument is a group, or a run: its id, the start of the id, `last` or `reference`. The second is the
# folder to write to, by default `report`; files of an earlier report are replaced. The third is the option by which
# `dipddpm compare` groups the runs. The folder then holds
#
#     figures/RUN    the curves and pictures as PDF, SVG and PNG, as wide as a column of a paper
#     html/RUN.html  the report, in one file that a browser opens
#     csv/RUN        all numbers as tables
#     comparison.txt, comparison.json
set -euo pipefail

runs=${1:?Name a group or a run, for example: examples/report.sh night}
out=${2:-report}
by=${3:-run}

dipddpm export "$runs" --to figures --to html --to csv --out "$out" --force
dipddpm compare "$runs" --by "$by" | tee "$out/comparison.txt"
dipddpm compare "$runs" --by "$by" --json >"$out/comparison.json"
