#!/usr/bin/env bash
# Prepare a corpus on many machines of a Slurm cluster, then put the parts together:
#   job=$(sbatch --parsable --array=1-16 examples/prepare_array.sh lrs3 /data/lrs3 /data/lrs3_prepared)
#   sbatch --dependency=afterany:$job examples/prepare_array.sh lrs3 /data/lrs3 /data/lrs3_prepared
# The second job does what failed ones left, and writes manifest, report and contact sheet. Jobs that are killed or requeued
# resume. Further options go to hf-lip2speech, the same for both. All machines see both folders; other
# schedulers set other variables for SLURM_ARRAY_TASK_ID (from 1) and SLURM_ARRAY_TASK_COUNT.
#SBATCH --cpus-per-task=16
#SBATCH --mem=32G
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail

shard=()
if [[ -n "${SLURM_ARRAY_TASK_ID:-}" ]]; then
  shard=(--shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT")
fi
exec hf-lip2speech prepare "$@" --num-proc "${SLURM_CPUS_PER_TASK:-1}" "${shard[@]}"
