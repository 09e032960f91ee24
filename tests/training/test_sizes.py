"""Parameters and operations counted without torch are those of the built models."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hpo_batch.training.knowledge_tracing import size as tracing_size
from hpo_batch.training.knowledge_tracing.model import KnowledgeTracing
from hpo_batch.training.knowledge_tracing.settings import Settings as TracingSettings
from hpo_batch.training.patchtst import size as patchtst_size
from hpo_batch.training.patchtst.model import PatchTST
from hpo_batch.training.patchtst.settings import Settings as PatchSettings
from hpo_batch.training.visual import size as visual_size
from hpo_batch.training.visual.model import Classifier
from hpo_batch.training.visual.settings import Settings as VisualSettings


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def counted(model: nn.Module, *inputs: torch.Tensor) -> int:
    """Operations as torch counts them; its counter knows attention only where it is made of matrix products."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.eval()(*inputs)
    return counter.get_total_flops()


tracing = st.fixed_dictionaries(
    {
        "d_model": st.sampled_from([8, 12]),
        "n_heads": st.sampled_from([1, 2, 4]),
        "d_ff": st.integers(1, 20),
        "num_encoder_blocks": st.integers(1, 3),
        "emb_type": st.sampled_from(["qid", "additive"]),
        "lambda_bce": st.sampled_from([1.0, 0.7]),
        "n_skills": st.integers(1, 9),
        "seq_len": st.integers(3, 12),
    }
)


@settings(max_examples=25, deadline=None)
@given(tracing)
def test_knowledge_tracing(params: dict[str, Any]) -> None:
    chosen = TracingSettings.from_params(params)
    model = KnowledgeTracing(chosen, n_skills=chosen.n_skills)
    assert tracing_size.n_params(params) == parameters(model)
    skills = torch.zeros(1, chosen.seq_len, dtype=torch.long)
    expected = tracing_size.forward_flop(chosen, n_skills=chosen.n_skills, n_tokens=chosen.seq_len - 1)
    assert counted(model, skills, skills) == expected
    logits, mastery = model(skills, skills)
    assert logits.shape == (1, chosen.seq_len - 1)
    assert (mastery is None) == (chosen.lambda_bce == 1)


visual = st.fixed_dictionaries(
    {
        "encoder_type": st.sampled_from(["cnn", "context"]),
        "embed_dim": st.integers(1, 9),
        "use_cosine": st.booleans(),
        "depth": st.integers(1, 7),
        "width_mult": st.floats(0.05, 0.4),
        "mlp_hidden": st.integers(1, 9),
        "use_coords": st.booleans(),
        "demo_agg": st.sampled_from(["flatten", "mean"]),
        "ctx_d_model": st.sampled_from([4, 8]),
        "ctx_n_head": st.sampled_from([1, 2]),
        "ctx_pixel_layers": st.integers(1, 2),
        "ctx_grid_layers": st.integers(1, 2),
    }
)


@settings(max_examples=40, deadline=None)
@given(visual, st.integers(1, 8), st.sampled_from([0, 5]))
def test_visual(params: dict[str, Any], size: int, centroid_dim: int) -> None:
    chosen = VisualSettings.from_params(params)
    centroids = torch.randn(5, centroid_dim) if centroid_dim else None
    model = Classifier(chosen, n_classes=5, centroids=centroids)
    assert visual_size.count(chosen, n_classes=5, centroid_dim=centroid_dim) == parameters(model)
    grids = torch.zeros(1, 3, 2, size, size, dtype=torch.uint8)
    expected = visual_size.forward_flop(chosen, size=size, n_classes=5, centroid_dim=centroid_dim, batch_size=1)
    assert counted(model, grids) == expected
    assert model(grids).shape == (1, 5)


@pytest.mark.parametrize("params", [{}, {"d_model": 16, "n_layers": 3, "n_heads": 2, "patch_len": 3}])
def test_patchtst(params: dict[str, Any]) -> None:
    chosen = PatchSettings.from_params(params)
    model = PatchTST(chosen, n_features=8)
    assert counted(model, torch.zeros(1, chosen.context, 8)) == patchtst_size.forward_flop(chosen, n_features=8)


@pytest.mark.parametrize("family", ["knowledge_tracing", "visual"])
def test_the_count_loads_no_torch(family: str) -> None:
    code = (
        f"import sys; from hpo_batch.training.{family}.size import n_params; print(n_params({{}}));"
        "assert not {'torch', 'pandas', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10_000
