"""Parameters and floating point operations of the knowledge tracing model without torch.

Equal to those of the built model, which a test holds against it. Does not judge whether the model can be built.
"""

from __future__ import annotations

from collections.abc import Mapping

from hpo_batch.training.knowledge_tracing.data import count_skills
from hpo_batch.training.knowledge_tracing.settings import Settings
from hpo_batch.training.sizes import block, block_flop, linear


def n_params(params: Mapping[str, object]) -> int:
    """Trainable parameters; reads the data file only if it must count the skills in it."""
    settings = Settings.from_params(params)
    return count(settings, n_skills=count_skills(settings))


def count(settings: Settings, *, n_skills: int) -> int:
    d = settings.d_model
    interactions = n_skills + 2 if settings.emb_type == "additive" else 2 * n_skills
    embeddings = (interactions + n_skills + settings.seq_len - 1) * d
    encoder = settings.num_encoder_blocks * block(d, settings.d_ff) + 2 * d
    mastery = linear(d, n_skills) + n_skills if settings.has_mastery else 0
    return embeddings + encoder + linear(2 * d, d) + linear(d, 1) + mastery


def forward_flop(settings: Settings, *, n_skills: int, n_tokens: int) -> int:
    """Floating point operations of one sequence of which `n_tokens` responses are predicted."""
    d = settings.d_model
    mastery = (d + n_tokens) * n_skills if settings.has_mastery else 0  # gains, and their sums over the past
    heads = 2 * n_tokens * (2 * d * d + d + mastery)
    return heads + settings.num_encoder_blocks * block_flop(n_tokens, d, settings.d_ff)
