#!/bin/bash

# Parameters
#SBATCH --array=0-3%3
#SBATCH --chdir=/home/user/project
#SBATCH --cpus-per-task=4
#SBATCH --error=/study/slurm/%A_%a_0_log.err
#SBATCH --job-name=sweep-0123456789ab
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=/study/slurm/%A_%a_0_log.out
#SBATCH --requeue
#SBATCH --signal=USR2@180
#SBATCH --time=90

# setup
ln -sfn 0123456789ab.pkl /study/slurm/"${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"_submitted.pkl
module load python/3.11

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /study/slurm/%A_%a_%t_log.out --error /study/slurm/%A_%a_%t_log.err --export=ALL --cpus-per-task=4 python3 -u -m submitit.core._submit /study/slurm
