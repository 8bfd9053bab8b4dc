#!/bin/bash
# A study on Slurm: grokstudy submit STUDY --root ROOT --slurm [--sbatch=--nodes=8 ...], which hands this to sbatch;
# or by hand: sbatch slurm.sh STUDY ROOT [OPTIONS of grokstudy run]   (from a folder whose .venv has grokstudy, such as
# the top of the checkout after `make setup`, or with grokstudy in the PATH)
# Out of time or requeued, the same command resumes: the root is the state. ROOT is a folder that all nodes share.
#SBATCH --job-name=grokstudy
#SBATCH --nodes=4                # CHANGE
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4        # CHANGE
#SBATCH --cpus-per-task=32       # CHANGE
#SBATCH --time=24:00:00          # CHANGE
#SBATCH --exclusive              # `ray stop` at the end would end your other Rays on a shared node
#SBATCH --requeue
set -euo pipefail
study=${1:?usage: sbatch slurm.sh STUDY ROOT}
root=${2:?usage: sbatch slurm.sh STUDY ROOT}
shift 2

cd "${SLURM_SUBMIT_DIR:-.}"
export PATH="$PWD/.venv/bin:$PATH" RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
# A token for this job alone: others on these nodes cannot use its Ray.
RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n')
export RAY_AUTH_TOKEN

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | awk 'NR == 1')  # `head` would end scontrol by SIGPIPE, and us
address=$(getent ahostsv4 "$first" | awk 'NR == 1 { print $1 }'):6379
gpus=()
if [ -n "${SLURM_GPUS_ON_NODE:-}" ]; then
    gpus=(--num-gpus "$SLURM_GPUS_ON_NODE")
fi
# Starts Ray on every node, runs the study on the first, and ends Ray when it is done.
srun --ntasks-per-node=1 ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus "${SLURM_CPUS_PER_TASK:-1}" "${gpus[@]}" \
    -- env RAY_ADDRESS="$address" grokstudy run "$study" --root "$root" "$@"
