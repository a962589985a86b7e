"""Fine-tuning against transformers' Seq2SeqTrainer: both run as they would, stopped at gates to be timed in turn."""

from __future__ import annotations

import tempfile

import numpy as np
from accelerate.state import AcceleratorState

from common import training_peers as peers
from common.training_steps import BUDGET, RATE, Evaluation, tokens_of
from common.training_world import World, fresh
from p5t5.core.encoded import Encoded
from p5t5.training.batching import plan, real_share
from p5t5.training.loop import train
from p5t5.training.options import TrainOptions

EMBEDDING_RATE = 3.0  # ours tuned, as in the recipe of Musical Instruments, whose mixture this is nearly
LARGE = (
    2 * BUDGET
)  # ours beside the Trainer's defaults: its rate is so low that ours learns as much in far fewer steps
MIXED = True  # all tasks in each batch of ours; the training's default is batches of like lengths


def our_run(
    model,
    encoded: Encoded,
    out: str,
    steps: int,
    every: int,
    budget: int,
    embedding_rate: float,
    precision: str,
) -> peers.Paced:
    """Our whole loop, with a gate where it would validate."""

    def run(gate):
        def validate(_):
            gate()
            return {"ndcg@10": 0.0}

        options = TrainOptions(
            max_steps=steps,
            eval_every=every,
            checkpoint_every=0,
            token_budget=budget,
            mixed_batches=MIXED,
            learning_rate=RATE,
            embedding_rate=embedding_rate,
            precision=precision,
        )
        train(model, lambda epoch: encoded, options, out, validate)

    return peers.Paced(run)


def compare(world: World, shape: str, trained: int, tuned: bool) -> tuple[float, dict]:
    """Real tokens a second while both sides train on about ``trained`` examples; our batches mix the tasks, as
    the peer's do: the loss that is compared is that of all tasks.

    The peer with its defaults (8 examples a step) meets ours with batches of LARGE tokens and ``mixed_batches=True``,
    which ours has in both comparisons (``mixed`` in the detail). The tuned one meets ours with as many examples a step
    as it takes itself, so that both make the same number of steps, at the same rate, but for embeddings of tokens:
    theirs has one rate for all, ours learns these at EMBEDDING_RATE times that.
    """
    size, checkpoint, encoded = world.size, world.checkpoint(shape), world.examples
    rows = [
        {"input_ids": i, "labels": t}
        for i, t in zip(encoded.inputs.to_lists(), encoded.targets.to_lists(), strict=True)
    ]
    evaluation = Evaluation(encoded)
    ours, theirs = fresh(checkpoint), peers.stock_t5(checkpoint.model)
    before = evaluation.same_start(ours, theirs)
    arguments: dict = {"per_device_train_batch_size": 8}
    choices: dict = {}
    with tempfile.TemporaryDirectory() as out:
        budget = LARGE
        if tuned:
            arguments, choices = best_arguments(world, checkpoint, rows, out)
            budget = same_batch(encoded, arguments["per_device_train_batch_size"])
        batches = planned(encoded, budget)
        batch = arguments["per_device_train_batch_size"]
        chunks = size.repeats + 1  # the first warms up
        their_every = max(trained // batch // chunks, 1)
        ended = np.searchsorted(np.cumsum([len(rows) for rows in batches]), trained)
        every = their_every if tuned else max(int(ended) // chunks, 1)
        counts: list[int] = []
        faster = EMBEDDING_RATE if tuned else 1.0
        half = bool(arguments.get("bf16"))
        a = our_run(ours, encoded, out, every * chunks + 1, every, budget, faster, "bf16" if half else "no")
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
        for chunk in range(1, chunks):  # both stand at their first gate, warmed up
            mine = sum(
                tokens_of(encoded, batches[k % len(batches)])
                for k in range(every * chunk, every * (chunk + 1))
            )
            speeds[0].append([mine / s for s in a.go()])
            at = len(counts)
            spent = b.go()
            speeds[1].append([sum(counts[at : at + their_every]) / s for s in spent])
        after = evaluation.after(ours, theirs)
        a.finish(), b.finish()
    median = [np.median(side, axis=0) for side in speeds]
    return float(median[0][1] / median[1][1]), {
        "wall_ratio": float(median[0][0] / median[1][0]),
        "tokens_per_cpu_second": [float(m[1]) for m in median],
        "loss_before": before,
        **after,
        "shape": shape,
        "examples": [sum(len(r) for r in batches[: every * chunks]), their_every * chunks * batch],
        "steps": [every * chunks, their_every * chunks],
        "token_budget": budget,
        "mixed": MIXED,
        "embedding_rate": faster,
        "real_token_share": real_share(batches, encoded.inputs.lengths, encoded.targets.lengths),
        "theirs": {k: v for k, v in arguments.items() if k != "length_column_name"},
        "autocast": half,
        **choices,
    }


def planned(encoded: Encoded, budget: int) -> list[np.ndarray]:
    lengths = encoded.inputs.lengths, encoded.targets.lengths
    return plan(*lengths, token_budget=budget, seed=0, epoch=0, mixed=MIXED)


def same_batch(encoded: Encoded, examples: int) -> int:
    """The token budget with which an epoch of ours has as many steps as one of batches of that many examples."""
    wanted, budget = len(encoded) / examples, float(BUDGET)
    for _ in range(6):  # longer batches pad otherwise, so the number of steps is not quite in proportion
        budget *= len(planned(encoded, round(budget))) / wanted
    return round(budget)


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
            spent = run.go()[1]
            found[batch, bf16] = sum(counts[at : at + steps]) / spent
            run.finish()
            # All Accelerators of a process share one precision: what comes next must not inherit this one's.
            AcceleratorState._reset_state(True)
    batch, bf16 = max(found, key=found.__getitem__)
    tried = {f"batch {b}, {'bf16' if half else 'fp32'}": v for (b, half), v in found.items()}
    return {**shared, "per_device_train_batch_size": batch, "bf16": bf16}, {"their_choices": tried}
