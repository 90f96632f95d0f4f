#!/usr/bin/env bash
# Compare learning rates of DIP over night: a run for each rate and seed, one after the other.
#
#     examples/overnight_sweep.sh
#     GROUP=rates RATES=0.01,0.03 SEEDS=5 examples/overnight_sweep.sh
#
# The script returns at once. The runs are processes of their own that wait in the queue of their device, so they survive
# a logout. Start the script again to continue: finished runs stay, interrupted ones are resumed, new ones join.
#
# Change: GROUP, the name of the group; RATES, the values to compare; SEEDS, the runs of each value. Further arguments are
# passed to `dipddpm sweep`, for example --images 0-9, --task inpaint:missing=0.7,sigma=10 or --device cuda.
# To vary another option, replace dip.lr by its key.
set -euo pipefail

group=${GROUP:-night}
rates=${RATES:-0.003,0.01,0.03}
seeds=${SEEDS:-3}

dipddpm sweep dip --over "dip.lr=$rates" --seeds "$seeds" --group "$group" --dataset fashion-mini "$@"

cat <<MORNING

In the morning:
  dipddpm ls --group $group                   which runs have finished
  dipddpm compare --group $group --by dip.lr  mean and deviation over the seeds
  examples/report.sh $group                   figures, tables and reports
  dipddpm-tui                                look at the curves and pictures
MORNING
