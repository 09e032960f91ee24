#!/bin/bash

# Parameters
#SBATCH --account=lab
#SBATCH --array=0-3%4
#SBATCH --chdir=/home/user/project
#SBATCH --cpus-per-task=8
#SBATCH --error=/study/slurm/%A_%a_0_log.err
#SBATCH --gres=gpu:a100:1
#SBATCH --job-name=sweep-0123456789ab
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=/study/slurm/%A_%a_0_log.out
#SBATCH --partition=gpu
#SBATCH --requeue
#SBATCH --signal=USR2@180
#SBATCH --time=240

# setup
ln -sfn 0123456789ab.pkl /study/slurm/"${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"_submitted.pkl

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /study/slurm/%A_%a_%t_log.out --error /study/slurm/%A_%a_%t_log.err --export=ALL --cpus-per-task=8 python3 -u -m submitit.core._submit /study/slurm
