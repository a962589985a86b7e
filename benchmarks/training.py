"""Training speed against peers: one JSON line a case, ratios measured in one run, sides in turn.

    python benchmarks/training.py --data DIR                   # every case, about 20 minutes on 2 cores
    python benchmarks/training.py --data DIR --case render     # one
    python benchmarks/training.py --quick                      # a toy size: shows that it runs, not how fast

DIR is a prepared data folder (Amazon Beauty for the project's figures); without it, simulated data. A
line is {"case", "value", "detail"}: the value is a ratio, ours better above 1, of real (not padding)
tokens a CPU second, medians of runs in turn. CPU seconds are the wall clock's on an idle machine with one
thread, and stay true where others compute beside; ``wall_ratio`` is in the detail. Both sides start from the same weights, with the same losses on one evaluation
batch (checked), without dropout; losses after the same number of examples are in the detail.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import training_peers as peers
from torch.nn import functional
from training_world import FULL, QUICK, World, fresh

from p5t5.batching import collate, plan, real_share
from p5t5.denoising import corrupt
from p5t5.ragged import Encoded
from p5t5.training.loop import train
from p5t5.training.optimiser import make_optimizer
from p5t5.training.schedule import TrainOptions

RATE = 7e-4  # ours, and the tuned peer's; Trainer's default is 5e-5
BUDGET = 2048


@torch.no_grad()
def loss_of(model, batch: dict[str, torch.Tensor]) -> float:
    """Nats a token, computed here for both sides."""
    model.eval()
    labels = batch["labels"]
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).logits
    model.train()
    return float(functional.cross_entropy(logits.flatten(0, 1), labels.flatten()))


def cpu_seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def tokens_of(encoded: Encoded, rows: np.ndarray) -> int:
    return int((encoded.inputs.lengths + encoded.targets.lengths)[rows].sum())


def our_run(model, encoded: Encoded, out: str, steps: int, every: int, rate: float = RATE) -> peers.Paced:
    """Our whole loop, with a gate where it would validate."""

    def run(gate):
        def validate(_):
            gate()
            return {"ndcg@10": 0.0}

        options = TrainOptions(
            max_steps=steps, eval_every=every, checkpoint_every=0, token_budget=BUDGET, learning_rate=rate
        )
        train(model, lambda epoch: encoded, options, out, validate)

    return peers.Paced(run)


def compare(world: World, tuned: bool) -> tuple[float, dict]:
    size, checkpoint, encoded = world.size, world.checkpoint("tiny"), world.examples
    rows = [
        {"input_ids": i, "labels": t}
        for i, t in zip(encoded.inputs.to_lists(), encoded.targets.to_lists(), strict=True)
    ]
    batches = plan(encoded.inputs.lengths, encoded.targets.lengths, token_budget=BUDGET, seed=0, epoch=0)
    chunks = size.repeats + 1  # the first warms up
    ended = np.searchsorted(np.cumsum([len(rows) for rows in batches]), size.trained)
    every = max(int(ended) // chunks, 1)
    evaluated = np.random.default_rng(1).permutation(len(encoded))[:64]
    evaluation = {k: v for k, v in collate(encoded, evaluated).items() if k != "label_weights"}
    ours, theirs = fresh(checkpoint), peers.stock_t5(checkpoint.model)
    before = loss_of(ours, evaluation), loss_of(theirs, evaluation)
    if abs(before[0] - before[1]) > 1e-4 * before[0]:
        raise SystemExit(f"the losses differ before training: {before}")
    arguments: dict = {"per_device_train_batch_size": 8}
    choices: dict = {}
    with tempfile.TemporaryDirectory() as out:
        if tuned:
            arguments, choices = best_arguments(world, checkpoint, rows, out)
        batch = arguments["per_device_train_batch_size"]
        their_every = max(size.trained // batch // chunks, 1)
        counts: list[int] = []
        a = our_run(ours, encoded, out, every * chunks + 1, every)
        b = peers.trainer_run(
            theirs,
            checkpoint.tokenizer,
            rows,
            out,
            their_every * chunks + 1,
            their_every,
            counts,
            **arguments,
        )
        speeds: list[list] = [[], []]
        for chunk in range(1, size.repeats + 1):  # both stand at their first gate, warmed up
            mine = sum(
                tokens_of(encoded, batches[k % len(batches)])
                for k in range(every * chunk, every * (chunk + 1))
            )
            speeds[0].append([mine / s for s in a.go()])
            at = len(counts)
            spent = b.go()
            speeds[1].append([sum(counts[at : at + their_every]) / s for s in spent])
        after = loss_of(ours, evaluation), loss_of(theirs, evaluation)
        a.finish(), b.finish()
    median = [np.median(side, axis=0) for side in speeds]
    return float(median[0][1] / median[1][1]), {
        "wall_ratio": float(median[0][0] / median[1][0]),
        "tokens_per_cpu_second": [float(m[1]) for m in median],
        "loss_before": before,
        "loss_after": after,
        "loss_not_above_theirs_by_2_percent": bool(after[0] <= 1.02 * after[1]),
        "examples": [sum(len(r) for r in batches[: every * chunks]), their_every * chunks * batch],
        "real_token_share": real_share(batches, encoded.inputs.lengths, encoded.targets.lengths),
        "theirs": {k: v for k, v in arguments.items() if k != "length_column_name"},
        "dtype": ["float32", "bfloat16" if arguments.get("bf16") else "float32"],
        **choices,
    }


def best_arguments(world: World, checkpoint, rows: list[dict], out: str) -> tuple[dict, dict]:
    """The tuned peer: grouped by length, our rate and schedule, its fastest batch size and precision."""
    shared = {
        "train_sampling_strategy": "group_by_length",
        "learning_rate": RATE,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.05,
    }
    found = {}
    for bf16 in (False, True):
        for batch in world.size.batches if not bf16 else world.size.batches[-1:]:
            arguments = {**shared, "per_device_train_batch_size": batch, "bf16": bf16}
            counts: list[int] = []
            steps = max(192 // batch, 1)
            model = peers.stock_t5(checkpoint.model)
            run = peers.trainer_run(
                model, checkpoint.tokenizer, rows, out, 2 * steps + 1, steps, counts, **arguments
            )
            at = len(counts)
            found[batch, bf16] = sum(counts[at - steps : at]) / run.go()[1]
            run.finish()
    batch, bf16 = max(found, key=found.__getitem__)
    tried = {f"batch {b}, {'bf16' if half else 'fp32'}": v for (b, half), v in found.items()}
    return {**shared, "per_device_train_batch_size": batch, "bf16": bf16}, {"their_choices": tried}


def both_ways(ours: Callable[[], int], theirs: Callable[[], int], repeats: int) -> tuple[float, dict]:
    """Each returns the work it did (tokens, rows); ratio of work a second, in turn."""
    speeds: list[list] = [[], []]
    ours(), theirs()
    for _ in range(repeats):
        for side, run in enumerate((ours, theirs)):
            start = time.perf_counter(), time.process_time()
            work = run()
            speeds[side].append(
                [work / (time.perf_counter() - start[0]), work / (time.process_time() - start[1])]
            )
    median = [np.median(side, axis=0) for side in speeds]
    return float(median[0][1] / median[1][1]), {
        "wall_ratio": float(median[0][0] / median[1][0]),
        "a_cpu_second": [float(m[1]) for m in median],
    }


def denoise_collator(world: World) -> tuple[float, dict]:
    """Rows masked and padded into batches a second."""
    tokens, groups, sentinels, eos = world.corpus()
    few = min(len(tokens), 4000)
    rows = [tokens[row].astype(np.int64) for row in range(few) if len(tokens[row]) > 1]
    rows.sort(key=len)  # length-grouped, as ours is

    encoded = corrupt(tokens, groups, sentinels, eos, seed=0, epoch=0)
    batches = plan(encoded.inputs.lengths, encoded.targets.lengths, token_budget=BUDGET, seed=0, epoch=0)

    def ours() -> int:
        encoded = corrupt(tokens, groups, sentinels, eos, seed=0, epoch=0)
        for batch in batches:  # neither side's sorting is timed
            collate(encoded, batch)
        return len(encoded)

    def theirs() -> int:
        rng = np.random.default_rng(0)
        for at in range(0, len(rows), 64):
            peers.collate_rows(rows[at : at + 64], sentinels, eos, rng)
        return len(rows)

    value, detail = both_ways(ours, theirs, world.size.repeats)
    return value, {**detail, "unit": "rows", "mean_length": float(tokens.lengths.mean())}


def denoise_step(world: World) -> tuple[float, dict]:
    """Whole steps, masking included: ours against nanoT5's packed rows, per-row collator and scaled AdamW."""
    checkpoint = world.checkpoint("tiny")
    tokens, groups, sentinels, eos = world.corpus()
    encoded = corrupt(tokens, groups, sentinels, eos, seed=0, epoch=0)
    weights = np.ones_like(encoded.weights)
    encoded = replace(encoded, weights=weights, units=encoded.targets.lengths.astype(np.int32))
    batches = plan(encoded.inputs.lengths, encoded.targets.lengths, token_budget=BUDGET, seed=0, epoch=0)
    length = min(568, len(tokens.values) // 8)  # tokens that give inputs of 512 and targets of 114
    packed = tokens.values[: len(tokens.values) // length * length].reshape(-1, length).astype(np.int64)
    ours, theirs = fresh(checkpoint), peers.stock_t5(checkpoint.model)
    ends = np.random.default_rng(1).permutation(len(encoded))[:64]
    evaluation = {k: v for k, v in collate(encoded, ends).items() if k != "label_weights"}
    before = loss_of(ours, evaluation), loss_of(theirs, evaluation)
    if abs(before[0] - before[1]) > 1e-4 * before[0]:
        raise SystemExit(f"the losses differ before training: {before}")
    optimizers = (
        make_optimizer(ours, TrainOptions(learning_rate=RATE)),
        peers.ScaledAdamW(theirs.parameters(), lr=2e-2),
    )
    rng, places = np.random.default_rng(0), [0, 0]
    steps, rows = (5, 4) if world.size is FULL else (1, 2)
    share = steps / len(batches)

    def our_steps() -> int:
        work = 0
        # The masking of an epoch, as a share of its steps.
        few = np.arange(places[0], places[0] + max(int(share * len(tokens)), 1)) % len(tokens)
        corrupt(tokens.take(few), groups.take(few), sentinels, eos, seed=0, epoch=0, keys=few)
        for _ in range(steps):
            chosen = batches[places[0] % len(batches)]
            places[0] += 1
            units = float(encoded.units[chosen].sum())
            update(ours, optimizers[0], collate(encoded, chosen), num_items_in_batch=units)
            work += tokens_of(encoded, chosen)
        return work

    def their_steps() -> int:
        work = 0
        for _ in range(steps):
            chosen = [packed[(places[1] + k) % len(packed)] for k in range(rows)]
            places[1] += rows
            batch = peers.collate_rows(chosen, sentinels, eos, rng)
            update(theirs, optimizers[1], batch)
            work += int(batch["attention_mask"].sum()) + int((batch["labels"] != -100).sum())
        return work

    value, detail = both_ways(our_steps, their_steps, world.size.repeats)
    return value, {
        **detail,
        "unit": "tokens",
        "loss_before": before,
        "loss_after": [loss_of(ours, evaluation), loss_of(theirs, evaluation)],
        "rows_of_theirs": [rows, length],
        "dtype": ["float32", "float32"],
    }


def update(model, optimizer, batch, **more) -> None:
    model(**batch, **more).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def render(world: World) -> tuple[float, dict]:
    """Examples to token ids a second: ours from slot values, theirs from finished strings; identical ids."""
    checkpoint = world.checkpoint("tiny")
    renderer, ready = checkpoint.renderer_for(world.data), []
    number = {prompt.id: place for place, prompt in enumerate(renderer.prompts)}
    prompt_of = np.array([number[prompt.id] for prompt in world.mixture.prompts], np.int64)
    for _, examples, prompts, _ in world.mixture.examples(0):
        ready.append((examples, prompt_of[prompts]))
    pairs = [pair for examples, prompts in ready for pair in renderer.text(examples, prompts)]
    some = np.random.default_rng(0).permutation(len(pairs))[: 4000 if world.size is FULL else 200]
    inputs, targets = ([pairs[i][side] for i in some] for side in (0, 1))
    encoded = Encoded.concatenate([renderer.encode(*one) for one in ready]).take(some)
    tokenizer = checkpoint.tokenizer
    made = peers.tokenise_texts(inputs, targets, tokenizer)
    if made["input_ids"][:] != encoded.inputs.to_lists() or made["labels"][:] != encoded.targets.to_lists():
        raise SystemExit("the ids differ")

    def ours() -> int:
        for one in ready:
            renderer.encode(*one)
        return len(pairs)

    def theirs() -> int:
        peers.tokenise_texts(inputs, targets, tokenizer)
        return len(inputs)

    value, detail = both_ways(ours, theirs, world.size.repeats)
    tokens = float(encoded.inputs.lengths.mean() + encoded.targets.lengths.mean())
    return value, {**detail, "unit": "examples", "tokens_an_example": tokens}


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
    steps = 8 if shape == "tiny" else 1
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


def cases(world: World) -> dict[str, Callable[[], tuple[float, dict]]]:
    return {
        "finetune_default": lambda: compare(world, tuned=False),
        "finetune_tuned": lambda: compare(world, tuned=True),
        "denoise_collator": lambda: denoise_collator(world),
        "denoise_step": lambda: denoise_step(world),
        "render": lambda: render(world),
        "gemm_share_small": lambda: gemm_share(world, "small"),
        "gemm_share_tiny": lambda: gemm_share(world, "tiny"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="prepared data folder; by default simulated data")
    parser.add_argument("--case", action="append", help="run this case only; may be given several times")
    parser.add_argument("--quick", action="store_true", help="a toy size, to see that it runs")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true" if options.threads > 1 else "false")
    warnings.filterwarnings("ignore")
    world = World(options.data, QUICK if options.quick else FULL)
    known = cases(world)
    for name in options.case or known:
        if name not in known:
            parser.error(f"no case {name!r}; there are {', '.join(known)}")
        start = time.perf_counter()
        value, detail = known[name]()
        detail = {
            **detail,
            "data": world.data.name,
            "threads": options.threads,
            "repeats": world.size.repeats,
            "seconds": round(time.perf_counter() - start, 1),
        }
        print(
            json.dumps({"case": name, "value": round(value, 4), "detail": detail}, default=float), flush=True
        )


if __name__ == "__main__":
    main()
