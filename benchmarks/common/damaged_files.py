"""What can become of a file of a checkpoint: each function does it to one."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def missing(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def bit_flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 4
    path.write_bytes(bytes(data))


def nan(path: Path) -> None:
    """Still well-formed, but with NaN where there was a number."""
    if path.suffix == ".safetensors":
        nan = {name: torch.full_like(value, float("nan")) for name, value in load_file(path).items()}
        save_file(nan, path)
    elif path.suffix == ".pt":
        state = torch.load(path, weights_only=True)
        for values in state["state"].values():
            values["exp_avg"].fill_(float("nan"))
        torch.save(state, path)
    elif path.name == "state.json":
        path.write_text(json.dumps({**json.loads(path.read_text()), "elapsed": float("nan")}))
    else:
        path.write_text(json.dumps({"sha256": {"state.json": "nan"}}))


FAULTS = (missing, empty, truncated, bit_flip, nan)
