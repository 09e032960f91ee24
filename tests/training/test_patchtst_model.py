"""The model and its torch-free size."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo_batch.training.patchtst.model import PatchTST
from hpo_batch.training.patchtst.settings import Settings
from hpo_batch.training.patchtst.size import count, n_params


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    n_heads = draw(st.integers(1, 4))
    context = draw(st.integers(1, 40))
    patch_len = draw(st.integers(1, context))
    params = {
        "data": "rows.csv",
        "context": context,
        "patch_len": patch_len,
        "stride": draw(st.integers(0, patch_len)),
        "n_heads": n_heads,
        "d_model": n_heads * draw(st.integers(1, 8)),
        "n_layers": draw(st.integers(1, 4)),
        "features": [f"f{i}" for i in range(draw(st.integers(1, 6)))],
    }
    width = draw(st.sampled_from(["d_ff", "d_ff_ratio"]))
    return {**params, width: draw(st.integers(1, 40) if width == "d_ff" else st.floats(0.5, 6))}


@settings(max_examples=60, deadline=None)
@given(configurations())
def test_size_is_that_of_the_model_and_the_shapes_hold(params: dict[str, Any]) -> None:
    chosen = Settings.from_params(params)
    n_features = len(chosen.features)
    model = PatchTST(chosen, n_features=n_features)
    assert n_params(params) == sum(p.numel() for p in model.parameters())
    assert model(torch.zeros(3, chosen.context, n_features)).shape == (3,)


def test_size_of_the_documents_shape() -> None:
    # 105 features, 9 patches of 16: 215,168 to embed, 198,272 per block, 1,409 for the head.
    features = [f"f{i}" for i in range(105)]
    chosen = Settings.from_params(
        {"data": "spy.csv", "d_model": 128, "n_layers": 6, "n_heads": 8, "features": features}
    )
    assert count(chosen, n_features=105) == 216_320 + 6 * 198_272 + 1_409


def test_size_counts_the_features_of_the_file(prices: pd.DataFrame, write: Callable[..., str]) -> None:
    path = write(prices)
    assert n_params({"data": path}) == n_params({"data": path, "features": "open,high,close,volume"})


def test_size_loads_no_torch() -> None:
    code = (
        "import sys; from hpo_batch.training.patchtst.size import n_params; print(n_params({}));"
        "assert not {'torch', 'pandas', 'sklearn', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == n_params({})


def test_heads_must_divide_the_width() -> None:
    chosen = Settings.from_params({"d_model": 10, "n_heads": 4})
    with pytest.raises(ValueError, match="d_model = 10 cannot be divided among n_heads = 4"):
        PatchTST(chosen, n_features=8)


def test_patches_that_do_not_fill_the_window_leave_out_the_oldest_rows() -> None:
    chosen = Settings.from_params({"data": "x.csv", "context": 10, "patch_len": 4, "stride": 4, "d_model": 8})
    model = PatchTST(chosen, n_features=1).eval()
    x = torch.randn(1, 10, 1)
    oldest, newest = x.clone(), x.clone()
    oldest[0, :2] += 1
    newest[0, -1] += 1
    assert torch.equal(model(x), model(oldest))
    assert not torch.equal(model(x), model(newest))


def test_logits_are_float32_under_autocast() -> None:
    model = PatchTST(Settings.from_params({}), n_features=8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(torch.randn(2, 8, 8)).dtype == torch.float32


def test_dropout_is_off_in_evaluation() -> None:
    model = PatchTST(Settings.from_params({"dropout": 0.5}), n_features=8)
    x = torch.randn(4, 8, 8)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))
