"""However the global batches are sliced over processes and accumulation, the same model comes out."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from support.tiny_training import examples, launch, options, reset_accelerate, tiny_model, vector

from p5t5.checkpoint.creation import create_checkpoint
from p5t5.core.encoded import Encoded
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import leave_one_out
from p5t5.distillation.soft_targets import make_soft_targets
from p5t5.text.mixture import make_mixture
from p5t5.text.prompts import load_prompts
from p5t5.text.rendering import render_mixture
from p5t5.training.batching import blocks, collate, plan, slices
from p5t5.training.loop import train
from p5t5.workflows.pretrain import PretrainOptions, denoising_source


def toys(epoch: int) -> Encoded:
    """Two kinds of examples (short answers; longer questions of another seed), as in a multi-task mixture."""
    return Encoded.concatenate([examples(epoch, 30), examples(epoch, 20, seed=7)])


@cache
def stages() -> dict[str, Encoded]:
    """Real examples of both stages on simulated data: every task at once, and masked spans."""
    split = leave_one_out(simulate(users=60, items=160, seed=1).data)
    checkpoint = create_checkpoint(split, load_prompts(), vocabulary_size=400, start_from_factors=False)
    chosen, _ = make_mixture(split, checkpoint.prompts, None, checkpoint.build_options(), 0, 120)
    assert len(chosen.tasks) == 15
    distilled, _ = make_soft_targets(checkpoint, split, {"sequential/continue": 0.5, "rating/score": 0.5})
    spans = denoising_source(checkpoint, split, PretrainOptions(), 0)(0)
    return {
        "finetune": render_mixture(checkpoint.renderer_for(split.data), chosen, 0, distilled),
        "pretrain": spans.take(np.arange(120)),
    }


def source_of(name: str):
    return toys if name == "toys" else lambda epoch: stages()[name]


def model_of(name: str, dtype: torch.dtype):
    if name == "toys":
        return tiny_model(dtype=dtype)
    largest = max(int(part.values.max()) for part in (stages()[name].inputs, stages()[name].targets))
    return tiny_model(dtype=dtype, vocab_size=largest + 1)


def final_weights(path, out, name: str, accumulation: int, steps: int, token_budget: int) -> None:
    """Trains in float64 without dropout; the main process saves all weights to ``path``."""
    model = model_of(name, torch.float64)
    mixed = name == "finetune"
    chosen = options(
        max_steps=steps, accumulation=accumulation, token_budget=token_budget, mixed_batches=mixed
    )
    result = train(model, source_of(name), chosen, out)
    if result.is_main:
        torch.save((vector(model), [line["loss"] for line in result.history]), path)


def trained(tmp_path, name: str, accumulation: int, world: int, steps: int = 6, token_budget: int = 200):
    path, out = tmp_path / f"{accumulation}-{world}.pt", tmp_path / f"{accumulation}-{world}"
    arguments = (path, out, name, accumulation, steps, token_budget)
    if world == 1:
        reset_accelerate()
        final_weights(*arguments)
    else:
        launch(final_weights, *arguments, processes=world)
    return torch.load(path)


@pytest.mark.parametrize(("name", "token_budget"), [("toys", 200), ("finetune", 1500), ("pretrain", 1500)])
def test_same_weights_for_every_slicing(tmp_path, name, token_budget):
    if name != "toys":
        stages()  # made once, for all processes
        encoded = stages()[name]
        lengths = encoded.inputs.lengths, encoded.targets.lengths
        batches = plan(*lengths, token_budget=token_budget, seed=0, epoch=0, mixed=True)
        assert name == "pretrain" or 2 in {len(blocks(rows, *lengths)) for rows in batches[:6]}
    whole, losses = trained(tmp_path, name, 1, 1, token_budget=token_budget)
    for accumulation, world in ((4, 1), (1, 2), (2, 2)):
        sliced, same_losses = trained(tmp_path, name, accumulation, world, token_budget=token_budget)
        assert (whole - sliced).abs().max() < 1e-9, (accumulation, world)
        assert same_losses == pytest.approx(losses, rel=1e-5)


def test_batches_smaller_than_the_number_of_slices(tmp_path):
    """Budgets so small that some slices are empty: those ranks run an example at weight zero."""
    whole, _ = trained(tmp_path, "toys", 1, 1, steps=4, token_budget=25)
    sliced, _ = trained(tmp_path, "toys", 2, 2, steps=4, token_budget=25)
    assert (whole - sliced).abs().max() < 1e-9


@pytest.mark.parametrize("name", ["finetune", "pretrain"])
def test_same_gradient_in_float32(name):
    """Summed over the slices of all ranks, as the processes do it, the gradient is that of the whole batch."""
    encoded = stages()[name]
    lengths = encoded.inputs.lengths, encoded.targets.lengths
    rows = plan(*lengths, token_budget=2000, seed=0, epoch=0)[0]

    def gradient(world: int, accumulation: int) -> torch.Tensor:
        model = model_of(name, torch.float32).train()
        units = float(encoded.units[rows].sum())
        for rank in range(world):
            for mine in slices(rows, world, rank, accumulation):
                if len(mine):
                    model(**collate(encoded, mine), num_items_in_batch=units).loss.backward()
        return torch.cat([value.grad.flatten() for value in model.parameters()])

    whole = gradient(1, 1)
    for world, accumulation in ((1, 2), (1, 7), (2, 1), (3, 2), (8, 4)):
        assert (gradient(world, accumulation) - whole).norm() < 1e-5 * whole.norm(), (world, accumulation)


def after_one_trainer_step(model, out, batch: int, accumulation: int, weighted: bool = False) -> torch.Tensor:
    """The weights after one SGD step of Seq2SeqTrainer on 16 examples: minus the gradient, scaled."""
    from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments

    encoded = examples(0, 16)

    def collator(rows):
        values = collate(encoded, rows)
        return values if weighted else {name: values[name] for name in values if name != "label_weights"}

    reset_accelerate()
    arguments = Seq2SeqTrainingArguments(
        output_dir=str(out),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        max_steps=1,
        learning_rate=0.1,
        optim="sgd",
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        remove_unused_columns=False,
    )
    Seq2SeqTrainer(model.train(), arguments, train_dataset=list(range(16)), data_collator=collator).train()
    reset_accelerate()
    return vector(model)


@pytest.mark.parametrize("weighted", [False, True])
def test_hf_trainer_gives_the_same_gradient_at_any_accumulation(tmp_path, weighted):
    """Our forward takes num_items_in_batch, so Seq2SeqTrainer's accumulation is exact too."""
    whole, *sliced = (
        after_one_trainer_step(tiny_model(dtype=torch.float64), tmp_path, 16 // parts, parts, weighted)
        for parts in (1, 8)
    )
    assert (whole - vector(tiny_model(dtype=torch.float64))).abs().max() > 1e-3
    for other in sliced:
        assert (whole - other).abs().max() < 1e-9


def test_hf_trainer_mis_scales_stock_t5(tmp_path):
    """The trap that ours avoids: a stock T5's gradient grows with the accumulation. Gone one day? Then say so."""
    from transformers import T5Config, T5ForConditionalGeneration

    def step(parts: int) -> float:
        torch.manual_seed(0)
        shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.0}
        model = T5ForConditionalGeneration(
            T5Config(vocab_size=40, decoder_start_token_id=0, **shape)
        ).double()
        before = vector(model).clone()
        return float((after_one_trainer_step(model, tmp_path, 16 // parts, parts) - before).norm())

    assert step(4) / step(1) > 3
