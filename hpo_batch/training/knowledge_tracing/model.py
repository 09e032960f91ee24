"""Attention over a student's responses, of which the next is predicted: B students, T responses, D = d_model.

After SAKT (Pandey and Karypis 2019, arXiv 1907.06837) with a pre-norm encoder. The mastery head, after the document's
model, has a level of each skill that can only grow.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo_batch.training.knowledge_tracing.settings import Settings
from hpo_batch.training.transformer import Block, Position, check_heads


class KnowledgeTracing(nn.Module):
    def __init__(self, settings: Settings, *, n_skills: int) -> None:
        super().__init__()
        d_model = settings.d_model
        check_heads(d_model=d_model, n_heads=settings.n_heads)
        self.n_skills, self.is_additive = n_skills, settings.emb_type == "additive"
        self.interaction = nn.Embedding(n_skills + 2 if self.is_additive else 2 * n_skills, d_model)
        self.position = Position(settings.seq_len - 1, d_model)
        self.dropout = nn.Dropout(settings.dropout)
        self.blocks = nn.Sequential(
            *(
                Block(
                    d_model=d_model, n_heads=settings.n_heads, d_ff=settings.d_ff, dropout=settings.dropout,
                    is_causal=True,
                )
                for _ in range(settings.num_encoder_blocks)
            )
        )  # fmt: skip
        self.norm = nn.LayerNorm(d_model)
        self.skill = nn.Embedding(n_skills, d_model)
        self.head = nn.Sequential(nn.Linear(2 * d_model, d_model), nn.GELU(), nn.Linear(d_model, 1))
        self.gain = nn.Linear(d_model, n_skills) if settings.has_mastery else None
        self.difficulty = nn.Embedding(n_skills, 1) if settings.has_mastery else None
        nn.init.normal_(self.position.weight, std=0.02)
        for embedding in (self.interaction, self.skill):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, skills: Tensor, responses: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits (B, T - 1) of the responses after the first, and those of the mastery head if there is one.

        `skills` and `responses` are (B, T); a logit depends on earlier responses and on the skill of its own only.
        """
        past, now = skills[:, :-1], skills[:, 1:]
        if self.is_additive:
            x = self.interaction(past) + self.interaction(self.n_skills + responses[:, :-1])
        else:
            x = self.interaction(past + self.n_skills * responses[:, :-1])
        x = self.dropout(self.position(x))  # (B, T - 1, D)
        x = self.norm(self.blocks(x))
        # In float32 also under autocast: bfloat16 logits have 8 bits, and the ties would move the AUC.
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            logits = self.head(torch.cat([x, self.skill(now)], dim=2)).squeeze(2)
            return logits, self.mastery(x, now)

    def mastery(self, x: Tensor, now: Tensor) -> Tensor | None:
        if self.gain is None or self.difficulty is None:
            return None
        # Sums over the past as a product: the cumsum of CUDA is not deterministic.
        past = x.new_ones(x.shape[1], x.shape[1]).tril()
        levels = past @ functional.softplus(self.gain(x))  # (B, T - 1, skills), never falling
        result: Tensor = levels.gather(2, now[:, :, None]).squeeze(2).log1p() - self.difficulty(now).squeeze(2)
        return result
