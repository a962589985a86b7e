"""The answers of a model or a baseline on the rows of one part, judged by the same protocols.

- **filtered**: the items of the user's visible history (everything before the row) are removed from the
  ranking, as recommenders do. Where interactions repeat, a test item that is in the history is then a miss.
  **unfiltered**: nothing is removed. **1+99**: one true item among uniform negatives that the user has
  not interacted with, drawn by the seed. **expected**: the probability-weighted rating. **choice**:
  the likelier of two answers. **text**: generated text; the field text_decoding describes the decoding.
- Every prediction counts: an answer that cannot be parsed is wrong, never dropped.
- The rows of the model and of the baselines are the same, so every comparison is paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from p5t5.core.errors import UserError
from p5t5.data.splits import Split
from p5t5.evaluation.fused import measure_fusion
from p5t5.evaluation.judging import Judge
from p5t5.evaluation.results import Evaluation, Measured
from p5t5.evaluation.rows import PROTOCOLS, check_protocols, row_metadata, rows_of
from p5t5.fusion.blend import Fusion
from p5t5.fusion.fitting import FUSED_TASK
from p5t5.inference.predictor import InferenceOptions, Predictor
from p5t5.metrics.text import require_packages
from p5t5.tasks.base import Examples
from p5t5.tasks.registry import TASKS
from p5t5.text.mixture import single, usable_prompts

if TYPE_CHECKING:
    from p5t5.checkpoint.checkpoint import Checkpoint


def evaluate_checkpoint(
    checkpoint: Checkpoint,
    split: Split,
    tasks: Sequence[str] | None = None,
    part: str = "test",
    prompts: Sequence[str] = ("seen", "held_out"),
    seed: int = 0,
    protocols: Sequence[str] = PROTOCOLS,
    limit: int | None = None,
    progress: bool = True,
    *,
    model_name: str = "p5t5",
    checkpoint_name: str = "",
    variant: str = "main",
    samples: int = 3,
    token_budget: int = 8192,
    fusion: Fusion | None = None,
) -> Evaluation:
    """Asks the model every eligible row of ``part`` once per kind of prompt, and judges the answers.

    - ``tasks``: names, or None for the checkpoint's own tasks (all tasks where it names none).
    - ``prompts``: "seen" and "held_out" (one such prompt per row, drawn by the seed), or prompt ids.
    - ``limit``: maximum number of users, drawn by the seed. ``samples``: number of questions shown with their answers.
    - ``fusion``: also ranks sequential/next_item blended, in rows of "<model_name>+fusion".

    Tasks that the data cannot feed are skipped, with a sentence in ``Evaluation.skipped``. Raises UserError for an
    unknown task, prompt or protocol, and for data with another catalogue than the checkpoint's.
    """
    from tqdm import tqdm

    check_protocols(protocols)
    data = split.data
    checkpoint.check(data)
    if fusion is not None:
        fusion.check(data.hash)
    predictor = Predictor(checkpoint, data, InferenceOptions(token_budget))
    options = replace(checkpoint.build_options(-1), seed=seed)
    judge = Judge(predictor, split, options)
    wanted = list(tasks if tasks is not None else checkpoint.info.tasks or TASKS)
    metadata = row_metadata(split, part, seed, checkpoint_name, variant)
    out = Evaluation()
    if any(
        TASKS[task].writes and not rows_of(split, task, part, limit, seed)[1]
        for task in wanted
        if task in TASKS
    ):
        require_packages()
    work = [(task, prompt) for task in wanted for prompt in _prompt_kinds(prompts, task, checkpoint)]
    progress_bar = tqdm(work, desc=f"evaluating {part}", disable=not progress, leave=False)
    for task, prompt in progress_bar:
        progress_bar.set_postfix_str(f"{task} {prompt}")
        rows, reason = rows_of(split, task, part, limit, seed)
        if reason := reason or _why_unasked(checkpoint, split, task, prompt):
            out.skipped += [] if reason in out.skipped else [reason]
            continue
        examples, index = single(split, task, checkpoint.prompts, part, options, prompt, rows)
        _add_judged(out, judge, examples, index, protocols, prompt, model_name, metadata, samples)
        if fusion is not None and task == FUSED_TASK:
            name, inputs = f"{model_name}+fusion", predictor.encode(examples, index)
            model, trie = predictor.model, predictor.trie
            for measured in measure_fusion(
                fusion, model, inputs, trie, split, rows, prompt, protocols, name, token_budget
            ):
                out.add(measured, metadata)
    return out


def _why_unasked(checkpoint: Checkpoint, split: Split, task: str, prompt: str) -> str:
    """A sentence on why a task cannot be asked with such prompts, or ""."""
    if prompt in ("seen", "held_out"):
        usable = usable_prompts(checkpoint.prompts, task, split.data, held_out=prompt == "held_out")
        if not len(usable):
            return f"{task} has no {prompt} prompt that {split.data.name} can fill"
    return _other_scale(checkpoint, split) if TASKS[task].rates else ""


def _add_judged(
    out: Evaluation,
    judge: Judge,
    examples: Examples,
    index: np.ndarray,
    protocols: Sequence[str],
    prompt: str,
    model_name: str,
    metadata: Mapping[str, Any],
    samples: int,
) -> None:
    """Adds the rows, the calibration and the samples of one task, asked with one kind of prompt."""
    users, rows, task = judge.split.data.user, examples.rows, examples.task
    started = perf_counter()
    for judged in judge.judge(examples, index, protocols):
        seconds, started = perf_counter() - started, perf_counter()
        judged_rows = rows if judged.subset is None else rows[judged.subset]
        measured = Measured(
            model_name,
            task,
            prompt,
            judged.protocol,
            judged_rows,
            users[judged_rows],
            judged.values,
            judged.totals,
            seconds,
            judged.text_decoding,
        )
        out.add(measured, metadata)
        if judged.calibration is not None:
            labels = {"task": task, "model": model_name, "variant": metadata["variant"], "prompt": prompt}
            out.calibration.append({**labels, "protocol": judged.protocol, **judged.calibration})
        if judged.shown and judged.protocol != "unfiltered":
            out.samples += judge.samples(examples, index, judged, samples, prompt)


def _prompt_kinds(prompts: Sequence[str], task: str, checkpoint: Checkpoint) -> list[str]:
    """The kinds of prompts, and those prompt ids that belong to the task."""
    task_of = {prompt.id: prompt.task for prompt in checkpoint.prompts}
    for name in prompts:
        if name not in ("seen", "held_out") and name not in task_of:
            raise UserError(
                f"the checkpoint has no prompt {name!r}; ask for seen, held_out or one of its ids"
            )
    return [name for name in prompts if name in ("seen", "held_out") or task_of[name] == task]


def _other_scale(checkpoint: Checkpoint, split: Split) -> str:
    ours, theirs = checkpoint.rating_values, split.data.rating_values
    if len(ours) == len(theirs) and np.allclose(ours, theirs):
        return ""
    return (
        f"ratings are off: the model was trained on {ours.tolist()}, {split.data.name} has {theirs.tolist()}"
    )
