"""How much of the machine's best rate of matrix products a whole training step turns into useful work."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from common.training_steps import BUDGET, RATE, update
from common.training_world import World, fresh
from p5t5.training.batching import collate, plan
from p5t5.training.optimizer import make_optimizer
from p5t5.training.options import TrainOptions

STEPS = {"tiny": 8, "mini": 2, "small": 1}  # that are timed together


def cpu_seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def forward_flops(config, inputs: np.ndarray, targets: np.ndarray) -> float:
    """Of the examples' real tokens, by the model's products (multiply and add: 2)."""
    d, inner, ff = config.d_model, config.num_heads * config.d_kv, config.d_ff
    s, t = inputs.astype(float), targets.astype(float)
    encoder = config.num_layers * (s * (4 * d * inner + 2 * d * ff) + 2 * s * s * inner)
    own = t * (4 * d * inner + 2 * d * ff) + t * (t + 1) * inner
    cross = t * 2 * d * inner + s * 2 * d * inner + 2 * s * t * inner
    decoder = (config.num_decoder_layers or config.num_layers) * (own + cross)
    return float(2 * (encoder + decoder + t * d * config.vocab_size).sum())


def gemm_share(world: World, shape: str) -> tuple[float, dict]:
    """Useful FLOP/s of whole training steps over the best rate of this machine's products at that width."""
    checkpoint, encoded = world.checkpoint(shape), world.examples
    config, model = checkpoint.model.config, fresh(checkpoint)
    optimizer = make_optimizer(model, TrainOptions(learning_rate=RATE))
    batches = plan(encoded.inputs.lengths, encoded.targets.lengths, token_budget=BUDGET, seed=0, epoch=0)
    steps = STEPS[shape]
    shapes = [(config.d_model, config.d_model), (config.d_model, config.d_ff), (config.d_ff, config.d_model)]
    shares, rates, useful, place = [], [], [], 0
    for turn in range(world.size.repeats + 1):
        rate = {
            (str(dtype), *dims): gemm_rate(BUDGET, *dims, dtype)
            for dtype in (torch.float32, torch.bfloat16)
            for dims in shapes
        }
        chosen = [batches[(place + k) % len(batches)] for k in range(steps)]
        place += steps
        flops = sum(
            3 * forward_flops(config, encoded.inputs.lengths[rows], encoded.targets.lengths[rows])
            for rows in chosen
        )

        def step(chosen=chosen):
            for rows in chosen:
                update(
                    model,
                    optimizer,
                    collate(encoded, rows),
                    num_items_in_batch=float(encoded.units[rows].sum()),
                )

        spent = cpu_seconds(step)
        if turn:  # the first warms up
            useful.append(flops / spent)
            rates.append(rate)
            shares.append(useful[-1] / max(rate.values()))
    best = {" ".join(map(str, key)): statistics.median(r[key] for r in rates) / 1e9 for key in rates[0]}
    return statistics.median(shares), {
        "useful_gflops": statistics.median(useful) / 1e9,
        "gemm_gflops": best,
        "dtype": "float32",
        "note": "over the faster of float32 and bfloat16 products",
    }


def gemm_rate(rows: int, inner: int, outer: int, dtype: torch.dtype) -> float:
    """FLOP/s of [rows, inner] · [inner, outer], the best of five."""
    a, b = torch.randn(rows, inner).to(dtype), torch.randn(outer, inner).to(dtype)
    count = max(int(2e9 / (2 * rows * inner * outer)), 1)
    functional.linear(a, b)

    def run():
        for _ in range(count):
            functional.linear(a, b)

    return max(2 * rows * inner * outer * count / cpu_seconds(run) for _ in range(5))
