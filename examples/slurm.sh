#!/usr/bin/env bash
# Train a diffusion model with several seeds, each as a job of a Slurm cluster. Run this on the login node.
#
#     examples/slurm.sh --dry-run                                # only list the runs
#     JOB=partition=gpu,gres=gpu:1,time=2:00:00 examples/slurm.sh
#
# The nodes must share the runs folder, the data and the Python environment, into which you have installed
# 'dipddpm[slurm]'.
#
# Preemption: shortly before the time limit, or when a job is preempted, the run stores a checkpoint and Slurm puts the
# job back into the queue. It continues exactly where it was, as the same run, so a time limit shorter than the training
# is no problem. After a failure, `dipddpm resume GROUP` submits the jobs again.
#
# Change: JOB, the options of sbatch; GROUP, the name of the group; SEEDS, the number of runs. Further arguments are passed
# to `dipddpm sweep`, for example --dataset folder:photos or --over ddpm.lr=0.001,0.002.
set -euo pipefail

job=${JOB:-partition=gpu,gres=gpu:1,time=4:00:00}
group=${GROUP:-cluster}
seeds=${SEEDS:-3}

dipddpm sweep ddpm --preset gpu --seeds "$seeds" --group "$group" --on "slurm:$job" "$@"

cat <<NEXT

Follow the jobs:
  dipddpm watch $group     until all have ended
  dipddpm stop $group      cancel them after a checkpoint
  dipddpm resume $group    submit them again
NEXT
