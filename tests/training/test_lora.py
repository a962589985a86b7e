"""LoRA: tokens are learned, the rest stands still, and the merged model is an ordinary one that says the same."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import torch
from support.tiny_training import examples, launch, options, rank, run, tiny_model, vector

from p5t5.core.errors import UserError
from p5t5.training.batching import collate
from p5t5.training.loop import train
from p5t5.training.lora import SCALE, TARGETS, Adapters

NEW = [4, 7, 30]  # "identifier tokens" of the tiny problem


def logits(model, whole=slice(None)) -> torch.Tensor:
    batch = collate(examples(0), torch.arange(40).numpy()[whole])
    with torch.no_grad():
        return model.eval()(
            **{name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
        ).logits


@pytest.mark.parametrize("untied", [False, True])
def test_merged_model(tmp_path, untied):
    model = tiny_model(untied_head=untied)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    structure, config = str(model), model.config.to_dict()
    adapters = Adapters(model, 4, NEW)
    assert torch.equal(logits(model), logits(tiny_model(untied_head=untied))), "LoRA starts as nothing"
    run(tmp_path, model, max_steps=20)
    adapted = logits(model)
    adapters.merge()
    assert str(model) == structure and model.config.to_dict() == config
    assert all(value.requires_grad for value in model.parameters())
    torch.testing.assert_close(logits(model), adapted, rtol=1e-4, atol=1e-5)
    after = model.state_dict()
    assert after.keys() == before.keys()
    old = [token for token in range(40) if token not in NEW]
    for name, value in after.items():
        if name in ("shared.weight", "lm_head.weight"):
            assert torch.equal(value[old], before[name][old]), name
            assert (value[NEW] != before[name][NEW]).any(1).all(), f"{name}: the tokens were not trained"
        elif name.endswith(tuple(f"{target}.weight" for target in TARGETS)):
            change = torch.linalg.matrix_rank(value - before[name], tol=1e-4)
            assert 0 < change <= 4, name
        elif "embed_tokens" not in name:
            assert torch.equal(value, before[name]), name


def test_whole_words_are_trained_too(tmp_path):
    model = tiny_model(whole_word_embeddings=True)
    Adapters(model, 2, NEW)
    run(tmp_path, model)
    assert model.encoder.whole_words.weight.abs().sum() > 0


def test_the_gradient_is_that_of_trainable_token_indices():
    """peft's own way of training a few tokens, as an oracle: the same loss and gradients, tied table and all."""
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    ours, theirs = tiny_model(dtype=torch.float64), tiny_model(dtype=torch.float64)
    Adapters(ours, 2, NEW, seed=3)
    config = LoraConfig(
        r=2, lora_alpha=2 * SCALE, target_modules=list(TARGETS), trainable_token_indices={"shared": NEW}
    )
    LoraModel(theirs, config, "default")
    weights = {name: value for name, value in ours.named_parameters() if "lora_" in name}
    batch = collate(examples(0), torch.arange(10).numpy())
    with torch.no_grad():
        for name, value in theirs.named_parameters():
            if "lora_" in name:
                value.copy_(weights[name].normal_(std=0.1) if "lora_B" in name else weights[name])
    losses = [model.train()(**batch, num_items_in_batch=7).loss for model in (ours, theirs)]
    torch.testing.assert_close(losses[0], losses[1])
    for loss in losses:
        loss.backward()
    for name, value in theirs.named_parameters():
        if "lora_" in name:
            torch.testing.assert_close(weights[name].grad, value.grad)
        elif "trainable_tokens_delta" in name:
            torch.testing.assert_close(ours.shared.weight.grad[NEW], value.grad)
    others = [token for token in range(40) if token not in NEW]
    assert not ours.shared.weight.grad[others].any()


def _on_two(folder) -> None:
    model = tiny_model(dtype=torch.float64)
    Adapters(model, 2, NEW)
    train(model, examples, options(checkpoint_every=3), folder / "two")
    torch.save(vector(model), folder / f"{rank()}.pt")


def test_two_processes_give_the_weights_of_one_and_resume_is_exact(tmp_path):
    model = tiny_model(dtype=torch.float64)
    Adapters(model, 2, NEW)
    run(tmp_path / "one", model, checkpoint_every=3)
    launch(_on_two, tmp_path)
    two = torch.load(tmp_path / "0.pt")
    assert (vector(model) - two).abs().max() < 1e-9 and torch.equal(two, torch.load(tmp_path / "1.pt"))
    again = tiny_model(dtype=torch.float64)
    Adapters(again, 2, NEW)
    remove_newest(tmp_path / "one")
    run(tmp_path / "one", again, checkpoint_every=3, resume=True)
    assert torch.equal(vector(again), vector(model))


def remove_newest(out) -> None:
    """Removes the newest checkpoint, as if the run had been stopped before it."""
    shutil.rmtree(max((out / "checkpoints").iterdir()))


def test_mistakes(monkeypatch):
    with pytest.raises(UserError, match="--lora 0: the rank must be at least 1"):
        Adapters(tiny_model(), 0, NEW)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"pip install 'p5t5\[lora\]'"):
        Adapters(tiny_model(), 2, NEW)


def test_the_command_leaves_an_ordinary_checkpoint(tmp_path, capsys):
    """Only identifiers move in the embedding, and plain loading works."""
    from safetensors.torch import load_file

    from p5t5.checkpoint.checkpoint import Checkpoint
    from p5t5.checkpoint.hub import load_model
    from p5t5.cli.main import main

    assert main(f"prepare simulated --users 60 --items 160 --out {tmp_path}/data".split()) == 0
    few = "--max_steps 6 --checkpoint_every 0 --token_budget 1024"
    data = f"--data {tmp_path}/data"
    assert main(f"pretrain {data} --out {tmp_path}/start {few} --model tiny".split()) == 0
    line = f"finetune {data} --out {tmp_path}/out --tasks sequential/next_item {few} --lora 4"
    assert main(line.split()) == 2 and "--lora adapts a trained model" in capsys.readouterr().err
    assert main(f"{line} --model {tmp_path}/start --schedule constant".split()) == 0
    checkpoint = Checkpoint.load(tmp_path / "out")
    assert checkpoint.info.stages[-1]["lora"] == 4
    assert "lora" not in " ".join(load_file(tmp_path / "out" / "model.safetensors"))
    start = load_model(tmp_path / "start").shared.weight
    moved = (checkpoint.model.shared.weight != start).any(1)
    pieces = checkpoint.tokenizer.get_vocab()
    named = {number for piece, number in pieces.items() if piece.startswith(("▁<item", "▁<user"))}
    assert set(moved.nonzero().flatten().tolist()) <= named and moved.sum() > 100
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "p5t5"
