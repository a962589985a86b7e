"""P5T5Config: a T5 configuration with our additions."""

from __future__ import annotations

import importlib

from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.t5.configuration_t5 import T5Config

# Shapes by name. tiny and mini are for laptops; small and base are those of t5-small and t5-base.
_SHAPES = {
    "tiny": {"d_model": 128, "d_kv": 32, "d_ff": 512, "num_layers": 2, "num_heads": 4},
    "mini": {"d_model": 256, "d_kv": 32, "d_ff": 1024, "num_layers": 4, "num_heads": 8},
    "small": {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8},
    "base": {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12},
}
PRESETS = tuple(_SHAPES)


class P5T5Config(T5Config):
    """T5Config with these additions.

    - ``untied_head``: the head has its own matrix (T5 v1.1, Flan). T5Config itself cannot express this:
      it forces ``tie_word_embeddings`` to True and leaves it to loading to notice.
    - ``whole_word_embeddings``: the encoder adds an embedding of each token's word number.
    - ``max_words``: word numbers from this one on share the last embedding.
    """

    model_type = "p5t5"

    untied_head: bool = False
    whole_word_embeddings: bool = False
    max_words: int = 512
    # Without a start token, the loss and generate raise an AttributeError.
    decoder_start_token_id: int | None = 0

    def __post_init__(self, **kwargs) -> None:
        importlib.import_module("p5t5.model.modeling")  # the Auto classes know the model from now on
        super().__post_init__(**kwargs)


def preset_config(name: str, vocab_size: int, *, dropout: float = 0.1, **changes) -> P5T5Config:
    """The configuration of a preset (``PRESETS``); ``changes`` are further T5Config fields.

    ReLU feed-forward and a tied head, as in T5 v1.0. Raises UserError for an unknown preset.
    """
    if name not in _SHAPES:
        from p5t5.core.errors import UserError

        raise UserError(f"unknown model preset {name!r}; choose one of {', '.join(PRESETS)}, or a T5 folder.")
    fields = {**_SHAPES[name], "vocab_size": vocab_size, "dropout_rate": dropout, **changes}
    return P5T5Config(**fields)


AutoConfig.register("p5t5", P5T5Config, exist_ok=True)
