#!/bin/bash

# Parameters
#SBATCH --array=0-3%4
#SBATCH --chdir=/home/user/project
#SBATCH --cpus-per-task=4
#SBATCH --error=/study/slurm/%A_%a_0_log.err
#SBATCH --gres=gpu:a100:2
#SBATCH --job-name=sweep-0123456789ab
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --open-mode=append
#SBATCH --output=/study/slurm/%A_%a_0_log.out
#SBATCH --requeue
#SBATCH --signal=USR2@180
#SBATCH --time=1440

# setup
ln -sfn 0123456789ab.pkl /study/slurm/"${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"_submitted.pkl

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /study/slurm/%A_%a_%t_log.out --error /study/slurm/%A_%a_%t_log.err --export=ALL --cpus-per-task=4 --kill-on-bad-exit=1 python3 -u -m submitit.core._submit /study/slurm
