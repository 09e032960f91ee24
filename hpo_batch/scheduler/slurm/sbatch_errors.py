"""Suggests fixes for the messages of sbatch when it refuses a job."""

from __future__ import annotations

import re

FIXES = (
    (r"partition name|invalid partition", "'sinfo -s' lists the partitions; set [job] partition, or --partition"),
    (
        r"account or account/partition",
        "'sacctmgr show assoc user=$USER format=account,partition,qos' lists yours; set [job] account, or --account",
    ),
    (r"invalid qos", "'sacctmgr show assoc user=$USER format=account,qos' lists yours; set [job] qos, or --qos"),
    (
        r"GRES option unsupported",
        'this site takes no --gpus-per-node: write [job] gres = "gpu:..." instead',
    ),
    (
        r"generic resource|\(gres\)",
        '\'sinfo -o "%P %G"\' shows what nodes have: [job] gres = "gpu:a100:1" with the type as written there; sites '
        "without gres want gpus_per_node, or neither",
    ),
    (
        r"QOSMaxWall|AssocMaxWall|time limit is invalid",
        "shorten [job] walltime; 'sinfo -o \"%P %l\"' shows the partitions' limits",
    ),
    (r"(QOS|Assoc)\w*(Cpu|CPU|Node|Mem|GRES|TRES)\w*", "ask for less per worker: [job] cpus, mem_gb, gres"),
    (r"feature", "'sinfo -o \"%N %f\"' lists the features; set [job] constraint"),
    (r"node name", "'sinfo -N' lists the nodes; see [job] nodelist and exclude"),
    (r"reservation", "'scontrol show reservation' lists them; see [job] reservation"),
    (r"dependency", 'see [job] dependency, such as "afterok:1234"'),
    (
        r"node configuration is not available|can not be satisfied|cannot be satisfied|More processors",
        (
            "no node of the partition has so much: see [job] cpus, mem_gb, gres; "
            "'sinfo -o \"%P %c %m %G\"' shows what nodes have"
        ),
    ),
    (r"group not permitted|Access.*denied|not permitted", "ask for access, or set another [job] partition or account"),
    (r"unrecognized option|mutually exclusive|invalid option", "see the options after -- and [job] sbatch"),
)
"""patterns for SLURM's messages and their fixes; the first match counts"""


def likely_fix(words: str) -> str:
    """How to fix a refused job; empty if SLURM's message is unknown."""
    for pattern, fix in FIXES:
        if re.search(pattern, words, flags=re.IGNORECASE):
            return fix
    return ""
