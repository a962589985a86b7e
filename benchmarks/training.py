"""Training speed against peers: one JSON line a case, ratios measured in one run, sides in turn.

    python benchmarks/training.py --data DIR --out results/training.jsonl    # every case, a quarter of an hour
    python benchmarks/training.py --data DIR --case render     # one
    python benchmarks/training.py --quick                      # a toy size: shows that it runs, not how fast

DIR is a prepared data folder (Amazon Beauty for the project's figures); without it, simulated data. A
line is {"case", "value", "detail"}: the value is a ratio, ours better above 1, of real (not padding)
tokens a CPU second, medians of runs in turn. CPU seconds are the wall clock's on an idle machine with one
thread, and stay true where others compute beside; ``wall_ratio`` is in the detail. Both sides start from the
same weights, with the same loss on one evaluation batch (checked), without dropout; losses after the same
number of examples are in the detail. ``--out`` adds each line to a file when its case is done; cases that the file has
of the same data, threads and size (--quick or not) are not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from common import training_peers as peers
from common.training_compare import compare
from common.training_flops import gemm_share
from common.training_steps import BUDGET, RATE, Evaluation, tokens_of, update
from common.training_world import FULL, QUICK, World, fresh

from p5t5.core.encoded import Encoded
from p5t5.text.span_corruption import corrupt
from p5t5.training.batching import collate, plan
from p5t5.training.optimizer import make_optimizer
from p5t5.training.options import TrainOptions


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
    evaluation = Evaluation(encoded)
    before = evaluation.same_start(ours, theirs)
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
        **evaluation.after(ours, theirs),
        "rows_of_theirs": [rows, length],
        "dtype": ["float32", "float32"],
    }


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


def cases(world: World) -> dict[str, Callable[[], tuple[float, dict]]]:
    return {
        "finetune_default": lambda: compare(world, "tiny", world.size.trained[0], tuned=False),
        "finetune_tuned": lambda: compare(world, "tiny", world.size.trained[1], tuned=True),
        "finetune_tuned_mini": lambda: compare(world, "mini", world.size.trained[1] // 8, tuned=True),
        "denoise_collator": lambda: denoise_collator(world),
        "denoise_step": lambda: denoise_step(world),
        "render": lambda: render(world),
        "gemm_share_tiny": lambda: gemm_share(world, "tiny"),
        "gemm_share_mini": lambda: gemm_share(world, "mini"),
        "gemm_share_small": lambda: gemm_share(world, "small"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="prepared data folder; by default simulated data")
    parser.add_argument("--case", action="append", help="run this case only; may be given several times")
    parser.add_argument("--quick", action="store_true", help="a toy size, to see that it runs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", help="JSON lines, added to as cases are done")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true" if options.threads > 1 else "false")
    warnings.filterwarnings("ignore")
    world = World(options.data, QUICK if options.quick else FULL)
    known = cases(world)
    out = Path(options.out) if options.out else None
    text = out.read_text() if out is not None and out.is_file() else ""
    lines = [json.loads(line) for line in text.splitlines()]
    wanted = {
        "data": world.data.name,
        "hash": world.data.hash,
        "threads": options.threads,
        "quick": options.quick,
    }
    done = {line["case"] for line in lines if wanted.items() <= line["detail"].items()}
    for name in options.case or known:
        if name not in known:
            parser.error(f"no case {name!r}; there are {', '.join(known)}")
        if name in done:
            continue
        start = time.perf_counter()
        value, detail = known[name]()
        detail = {
            **detail,
            **wanted,
            "repeats": world.size.repeats,
            "seconds": round(time.perf_counter() - start, 1),
        }
        line = json.dumps({"case": name, "value": round(value, 4), "detail": detail}, default=float)
        print(line, flush=True)
        if out is not None:
            with out.open("a") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
