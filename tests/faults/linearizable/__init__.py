"""A model checker for the study, in the spirit of Jepsen: many processes, a hostile network, a history, a judge.

``workers``   real processes with the real ``Study``; ``history`` is what they note
``storm``     starts, kills, stops and replaces them
``model``     the study as one process would keep it
``check``     judges a history and the journal that it left

    python -m tests.faults.linearizable --runs 100 --processes 16 --seed 7
"""
