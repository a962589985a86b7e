"""A tiny problem for the training tests: models, examples and runs that take a second."""

from __future__ import annotations

import numpy as np
import torch

from p5t5.core.encoded import Encoded
from p5t5.core.ragged import Ragged
from p5t5.model.configuration import P5T5Config
from p5t5.model.initialization import initialize
from p5t5.model.modeling import P5T5ForConditionalGeneration
from p5t5.training.loop import TrainResult, train
from p5t5.training.options import TrainOptions

VOCABULARY = 40


def tiny_model(
    dropout: float = 0.0, dtype: torch.dtype = torch.float32, **changes
) -> P5T5ForConditionalGeneration:
    config = P5T5Config(
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        dropout_rate=dropout,
        **{"vocab_size": VOCABULARY, **changes},
    )
    return initialize(config, seed=1).to(dtype)


def examples(epoch: int, count: int = 40, seed: int = 0) -> Encoded:
    """Answer = the question's first token plus 1: learnable; answers of one to three units."""
    rng = np.random.default_rng([seed, epoch])
    inputs, targets, weights, units = [], [], [], []
    for _ in range(count):
        question = rng.integers(3, VOCABULARY - 1, rng.integers(2, 9)).tolist()
        answers = int(rng.integers(1, 4))
        inputs.append([*question, 1])
        targets.append([question[0] + 1] * answers + [1])
        weights += [1.0] * (answers - 1) + [0.5, 0.5]
        units.append(answers)
    return Encoded(
        Ragged.from_lists(inputs),
        Ragged.from_lists(targets),
        np.array(weights, np.float32),
        np.array(units, np.int32),
    )


def options(**changes) -> TrainOptions:
    """Six steps of small batches, no checkpoints, unless changed."""
    fields = {
        "max_steps": 6,
        "token_budget": 200,
        "checkpoint_every": 0,
        "precision": "no",
        "learning_rate": 1e-2,
        "log_every": 1,
    }
    return TrainOptions(**{**fields, **changes})


def run(
    out, model=None, source=examples, validate=None, **changes
) -> tuple[P5T5ForConditionalGeneration, TrainResult]:
    model = tiny_model() if model is None else model
    return model, train(model, source, options(**changes), out, validate)


def vector(model: torch.nn.Module) -> torch.Tensor:
    """All weights of a model, one after another."""
    return torch.cat([value.detach().flatten() for value in model.parameters()])


def reset_accelerate() -> None:
    """Forgets Accelerate's process-wide state, so that the next Accelerator looks around anew."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)


def launch(function, *arguments, processes: int = 2) -> None:
    """Runs ``function`` in that many new processes (gloo on the CPU), one thread each."""
    from accelerate import debug_launcher

    reset_accelerate()
    debug_launcher(_in_child, args=(processes, function, *arguments), num_processes=processes)


def _in_child(processes: int, function, *arguments) -> None:
    from accelerate import PartialState

    torch.set_num_threads(1)  # a forked child must not use the parent's OpenMP threads
    reset_accelerate()
    # Trap: wrong launches start one process, or two that both believe to be alone, without an error.
    assert PartialState(cpu=True).num_processes == processes
    reset_accelerate()
    function(*arguments)


def rank() -> int:
    """This process's number; debug_launcher tells torch, not the environment."""
    return torch.distributed.get_rank()
