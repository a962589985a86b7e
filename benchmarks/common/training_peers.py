"""What our training is measured against, in our own words and as fast as each design allows.

P3: transformers' ``Seq2SeqTrainer`` on a stock T5. P4: ``datasets.map`` with a fast tokenizer. nanoT5's
recipe: fixed-length rows cut from the joined corpus, masked row by row in the collator, AdamW with its
steps scaled by each matrix's root mean square (arXiv 2309.02373).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import torch
from transformers import (
    DataCollatorForSeq2Seq,
    PrinterCallback,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    T5Config,
    T5ForConditionalGeneration,
    TrainerCallback,
)


class Paced:
    """A run in a thread of its own that stops at gates, so that two long runs can be timed in turn."""

    def __init__(self, run: Callable[[Callable[[], None]], None]):
        self.turn, self.done = threading.Event(), threading.Event()
        self.error: BaseException | None = None
        self.finished = False

        def work() -> None:
            try:
                run(self.gate)
            except BaseException as error:
                self.error = error
            self.finished = True
            self.done.set()

        threading.Thread(target=work, daemon=True).start()
        self._wait()

    def gate(self) -> None:
        self.done.set()
        self.turn.wait()
        self.turn.clear()

    def go(self) -> tuple[float, float]:
        """(seconds, CPU seconds of the process) to the next gate."""
        self.done.clear()
        start = time.perf_counter(), time.process_time()
        self.turn.set()
        self._wait()
        return time.perf_counter() - start[0], time.process_time() - start[1]

    def finish(self) -> None:
        while not self.finished:
            self.go()

    def _wait(self) -> None:
        self.done.wait()
        if self.error is not None:
            raise self.error


def stock_t5(model) -> T5ForConditionalGeneration:
    """transformers' T5 with the weights of ours (tied head), in training mode."""
    fields = {k: v for k, v in model.config.to_dict().items() if k not in ("model_type", "architectures")}
    plain = T5ForConditionalGeneration(T5Config(**fields))
    plain.load_state_dict(model.state_dict())
    plain.tie_weights()
    return plain.train()


class _Gates(TrainerCallback):
    def __init__(self, every: int, gate: Callable[[], None]):
        self.every, self.gate = every, gate

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step % self.every == 0:
            self.gate()


class _Counting(DataCollatorForSeq2Seq):
    """Counts the real tokens that it pads, for the one step that each call is."""

    def __call__(self, features, return_tensors=None):
        self.counts.append(sum(len(row["input_ids"]) + len(row["labels"]) for row in features))
        return super().__call__(features, return_tensors)


def trainer_run(
    model, tokenizer, rows: list[dict], out: str, steps: int, every: int, counts: list, **arguments
):
    """A ``Paced`` run of Seq2SeqTrainer: a gate every ``every`` steps; real tokens a step in ``counts``."""
    arguments = Seq2SeqTrainingArguments(
        output_dir=out,
        max_steps=steps,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        logging_strategy="no",
        **arguments,
    )
    collator = _Counting(tokenizer, model=model)
    collator.counts = counts

    def run(gate):
        trainer = Seq2SeqTrainer(
            model, arguments, train_dataset=rows, data_collator=collator, callbacks=[_Gates(every, gate)]
        )
        trainer.remove_callback(PrinterCallback)  # stdout is for the cases' lines
        trainer.train()

    return Paced(run)


def tokenise_texts(inputs: list[str], targets: list[str], tokenizer):
    """P4: a ``datasets`` map in batches; the tokenizer's own ``</s>``."""
    from datasets import Dataset

    def encode(batch):
        sides = [tokenizer(batch[name])["input_ids"] for name in ("input", "target")]
        return {"input_ids": sides[0], "labels": sides[1]}

    data = Dataset.from_dict({"input": inputs, "target": targets})
    return data.map(encode, batched=True, remove_columns=["input", "target"], keep_in_memory=True)


def noise_mask(length: int, density: float, mean_span: float, rng: np.random.Generator) -> np.ndarray:
    """T5's random_spans_noise_mask for one row, with a rotation."""
    noisy = min(max(round(length * density), 1), length - 1)
    spans = min(max(round(noisy / mean_span), 1), noisy, length - noisy)

    def segments(things: int) -> np.ndarray:
        cuts = np.arange(things - 1) < spans - 1
        rng.shuffle(cuts)
        return np.bincount(np.concatenate([[0], np.cumsum(cuts)]), minlength=spans)

    runs = np.stack([segments(length - noisy), segments(noisy)], 1).reshape(-1)
    mask = np.repeat(np.tile([False, True], spans), runs)
    return np.roll(mask, rng.integers(length))


def corrupt_row(tokens: np.ndarray, sentinels: np.ndarray, eos: int, rng, density=0.15, mean_span=3.0):
    """(input ids, target ids) of one row."""
    mask = noise_mask(len(tokens), density, mean_span, rng)
    sides = []
    for hidden in (mask, ~mask):
        starts = hidden & ~np.concatenate([[False], hidden[:-1]])
        number = np.cumsum(starts) - 1
        marked = np.where(starts, sentinels[np.minimum(number, len(sentinels) - 1)], tokens)
        sides.append(np.concatenate([marked[~hidden | starts], [eos]]))
    return sides


def collate_rows(rows: list[np.ndarray], sentinels: np.ndarray, eos: int, rng) -> dict[str, torch.Tensor]:
    """A collator as in nanoT5 and transformers' T5 example: each row masked in Python, then padded."""
    pairs = [corrupt_row(row, sentinels, eos, rng) for row in rows]
    inputs = np.zeros((len(rows), max(len(a) for a, _ in pairs)), np.int64)
    labels = np.full((len(rows), max(len(b) for _, b in pairs)), -100, np.int64)
    for place, (a, b) in enumerate(pairs):
        inputs[place, : len(a)], labels[place, : len(b)] = a, b
    return {
        "input_ids": torch.from_numpy(inputs),
        "attention_mask": torch.from_numpy((inputs != 0).astype(np.int64)),
        "labels": torch.from_numpy(labels),
    }


class ScaledAdamW(torch.optim.Optimizer):
    """nanoT5's AdamWScale: Adam's step times max(0.001, RMS of the matrix)."""

    def __init__(self, params, lr: float, betas=(0.9, 0.999), eps: float = 1e-6):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            grads = [p.grad for p in params]
            for p in params:
                if not self.state[p]:
                    self.state[p].update(step=0, mean=torch.zeros_like(p), square=torch.zeros_like(p))
                self.state[p]["step"] += 1
            means = [self.state[p]["mean"] for p in params]
            squares = [self.state[p]["square"] for p in params]
            (b1, b2), count = group["betas"], self.state[params[0]]["step"]
            torch._foreach_lerp_(means, grads, 1 - b1)
            torch._foreach_mul_(squares, b2)
            torch._foreach_addcmul_(squares, grads, grads, 1 - b2)
            scales = [
                float(n) / p.numel() ** 0.5 for n, p in zip(torch._foreach_norm(params), params, strict=True)
            ]
            rate = group["lr"] * (1 - b2**count) ** 0.5 / (1 - b1**count)
            below = torch._foreach_sqrt(squares)
            torch._foreach_add_(below, group["eps"])
            torch._foreach_addcdiv_(params, means, below, [-rate * max(1e-3, s) for s in scales])
