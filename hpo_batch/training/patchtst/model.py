"""The PatchTST encoder: patches of a multivariate window are the tokens of a pre-norm transformer, one logit comes out.

After Nie et al. 2023 (arXiv 2211.14730), with all features of a patch in one token as in the documents. B windows,
T rows, F features, P patches, L rows per patch, D = d_model, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hpo_batch.training.patchtst.settings import Settings
from hpo_batch.training.transformer import Block, check_heads


class PatchTST(nn.Module):
    def __init__(self, settings: Settings, *, n_features: int) -> None:
        super().__init__()
        d_model, n_heads, n_patches = settings.d_model, settings.n_heads, settings.n_patches
        check_heads(d_model=d_model, n_heads=n_heads)
        self.patch_len, self.stride = settings.patch_len, settings.stride
        self.embedding = nn.Linear(settings.patch_len * n_features, d_model)
        self.position = nn.Parameter(torch.empty(n_patches, d_model))
        self.dropout = nn.Dropout(settings.dropout)
        self.blocks = nn.Sequential(
            *(
                Block(d_model=d_model, n_heads=n_heads, d_ff=settings.d_ff, dropout=settings.dropout)
                for _ in range(settings.n_layers)
            )
        )
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(n_patches * d_model, 1)
        nn.init.normal_(self.position, std=0.02)

    def forward(self, x: Tensor) -> Tensor:  # (B, T, F) -> (B,)
        # Where the patches do not fill the window, the oldest rows are left out, not the newest.
        x = x[:, (x.shape[1] - self.patch_len) % self.stride :]
        x = x.unfold(1, self.patch_len, self.stride).flatten(2)  # (B, P, F * L)
        x = self.dropout(self.embedding(x) + self.position)  # (B, P, D)
        x = self.norm(self.blocks(x)).flatten(1)  # (B, P * D)
        # In float32 also under autocast: bfloat16 logits have 8 bits, and the ties would move the AUC.
        with torch.autocast(x.device.type, enabled=False):
            logits: Tensor = self.head(x.float())  # (B, 1)
        return logits.squeeze(1)


def is_decayed(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies: to matrices, but not to the position embeddings."""
    return parameter.ndim >= 2 and name != "position"
