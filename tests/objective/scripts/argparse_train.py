"""A training script as people have them: argparse, a loop, a printed result. It knows nothing of hpo-batch."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--shift", type=float, default=0.0)
    parser.add_argument("--d_model", type=int, default=8)
    parser.add_argument("--text", default="")
    parser.add_argument("--other-text", default="")
    parser.add_argument("--use_cosine", action="store_true")
    parser.add_argument("--use_warmup", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    (args.out / "args.json").write_text(json.dumps(vars(args), default=str))
    for epoch in range(3):
        print(f"epoch {epoch}: loss {args.lr / (epoch + 1):.4f}")
    print(f"RESULT: loss={args.lr} acc=0.5")


if __name__ == "__main__":
    main()
