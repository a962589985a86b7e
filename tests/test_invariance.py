"""However the global batches are sliced over processes and accumulation, the same model comes out."""

from __future__ import annotations

import pytest
import torch
from tiny_training import examples, launch, options, reset_accelerate, tiny_model, vector

from p5t5.ragged import Encoded
from p5t5.training.loop import train


def mixture(epoch: int) -> Encoded:
    """Two kinds of examples (short answers; longer questions of another seed), as in a multi-task mixture."""
    return Encoded.concatenate([examples(epoch, 30), examples(epoch, 20, seed=7)])


def final_weights(path, out, accumulation: int, steps: int, token_budget: int) -> None:
    """Trains in float64 without dropout; the main process saves all weights to ``path``."""
    model = tiny_model(dtype=torch.float64)
    chosen = options(max_steps=steps, accumulation=accumulation, token_budget=token_budget)
    result = train(model, mixture, chosen, out)
    if result.is_main:
        torch.save((vector(model), [line["loss"] for line in result.history]), path)


def trained(tmp_path, accumulation: int, world: int, steps: int = 6, token_budget: int = 200):
    path, out = tmp_path / f"{accumulation}-{world}.pt", tmp_path / f"{accumulation}-{world}"
    arguments = (path, out, accumulation, steps, token_budget)
    if world == 1:
        reset_accelerate()
        final_weights(*arguments)
    else:
        launch(final_weights, *arguments, processes=world)
    return torch.load(path)


@pytest.mark.parametrize(
    "slicing", [(4, 1), (1, 2), (2, 2)], ids=lambda pair: f"accumulation{pair[0]}-world{pair[1]}"
)
def test_same_weights_for_every_slicing(tmp_path, slicing):
    whole, losses = trained(tmp_path, 1, 1)
    sliced, same_losses = trained(tmp_path, *slicing)
    assert (whole - sliced).abs().max() < 1e-9
    assert same_losses == pytest.approx(losses, rel=1e-5)


def test_batches_smaller_than_the_number_of_slices(tmp_path):
    """Budgets so small that some slices are empty: those ranks run an example at weight zero."""
    whole, _ = trained(tmp_path, 1, 1, steps=4, token_budget=25)
    sliced, _ = trained(tmp_path, 2, 2, steps=4, token_budget=25)
    assert (whole - sliced).abs().max() < 1e-9


def test_hf_trainer_gives_the_same_gradient_at_any_accumulation(tmp_path):
    """Our forward takes num_items_in_batch, so Seq2SeqTrainer's accumulation is exact too (stock T5's is not)."""
    from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments

    from p5t5.batching import collate

    encoded = examples(0, 16)

    def collator(rows):
        return {name: value for name, value in collate(encoded, rows).items() if name != "label_weights"}

    def after_one_step(batch: int, accumulation: int) -> torch.Tensor:
        reset_accelerate()
        model = tiny_model(dtype=torch.float64).train()
        arguments = Seq2SeqTrainingArguments(
            output_dir=str(tmp_path),
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
        Seq2SeqTrainer(model, arguments, train_dataset=list(range(16)), data_collator=collator).train()
        return vector(model)

    assert (after_one_step(16, 1) - after_one_step(2, 8)).abs().max() < 1e-9
    reset_accelerate()
