"""P5T5ForConditionalGeneration: T5 with an exact loss and optional whole-word embeddings.

It is a T5 in every other respect: ``generate``, the Auto classes and HF's Trainer work, a plain T5
checkpoint (v1.0, v1.1 or Flan) loads, and ``export_t5`` writes one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoModelForSeq2SeqLM, T5Config, T5ForConditionalGeneration

# Its functions do not touch weights that came from a checkpoint; torch.nn.init's do.
from transformers import initialization as init
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_outputs import Seq2SeqLMOutput
from transformers.models.t5.modeling_t5 import T5Stack

from p5t5.core.errors import UserError
from p5t5.core.files import make_readable
from p5t5.model.configuration import PRESETS, P5T5Config, preset_config
from p5t5.model.cpu_forward import can_fuse, decoder_states
from p5t5.model.head_loss import HeadLoss, Lookup, TiedGradient

__all__ = [
    "PRESETS",
    "P5T5Config",
    "P5T5Encoder",
    "P5T5ForConditionalGeneration",
    "export_t5",
    "preset_config",
]


class WholeWordEmbedding(nn.Embedding):
    """A vector for each word number. A separate class so that ``_init_weights`` can zero it."""

    def reset_parameters(self) -> None:
        init.zeros_(self.weight)


class P5T5Encoder(T5Stack):
    """T5's encoder; with ``whole_word_embeddings`` it adds the embedding of each token's word number.

    The word number is how many words have started up to the token, computed from ``input_ids`` and the
    stored ``word_start`` (bool [vocabulary]). So it need not be passed: ``generate``, Trainer and
    ``model.encoder(...)`` see it too.
    """

    word_start: torch.Tensor

    def __init__(self, config):
        super().__init__(config)
        self.whole_words: WholeWordEmbedding | None = None
        if config.whole_word_embeddings:
            self.whole_words = WholeWordEmbedding(config.max_words, config.d_model)
            self.register_buffer("word_start", torch.ones(config.vocab_size, dtype=torch.bool))

    def _init_weights(self, module):
        # transformers asks the nearest model above a module: for our table, that is the encoder.
        if isinstance(module, WholeWordEmbedding):
            init.zeros_(module.weight)
        else:
            super()._init_weights(module)

    def forward(self, input_ids=None, attention_mask=None, inputs_embeds=None, **kwargs):
        if self.whole_words is not None and input_ids is not None and inputs_embeds is None:
            inputs_embeds = self.with_words(input_ids, self.embed_tokens(input_ids))
            input_ids = None
        return super().forward(
            input_ids=input_ids, attention_mask=attention_mask, inputs_embeds=inputs_embeds, **kwargs
        )

    def with_words(self, input_ids: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        """``embedded`` [B, S, d_model] tokens plus the embeddings of their word numbers."""
        if self.whole_words is None:
            return embedded
        numbers = self.word_start[input_ids].cumsum(-1).clamp(max=self.config.max_words - 1)
        return embedded + self.whole_words(numbers)


class P5T5ForConditionalGeneration(T5ForConditionalGeneration):
    """A T5 for prompts: see the module's docstring."""

    config_class = P5T5Config
    config: P5T5Config
    # HF's Trainer then hands num_items_in_batch to forward, and does not divide by accumulation.
    accepts_loss_kwargs = True

    def __init__(self, config: P5T5Config):
        super().__init__(config)
        if config.whole_word_embeddings:
            self.encoder = P5T5Encoder(self.encoder.config)
            self.post_init()

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict:
        """The weights that transformers ties: without this, ``tie_weights()`` would tie an untied head again."""
        tied = super().get_expanded_tied_weights_keys(all_submodels)
        if self.config.untied_head:
            tied = {target: source for target, source in tied.items() if target != "lm_head.weight"}
        return tied

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, WholeWordEmbedding):
            nn.init.zeros_(module.weight)
        elif isinstance(module, P5T5ForConditionalGeneration) and self.config.untied_head:
            nn.init.normal_(
                module.lm_head.weight, std=self.config.initializer_factor * self.config.d_model**-0.5
            )

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, config=None, **kwargs):
        """Loads a p5t5 checkpoint, or a plain T5 one (``model_type`` t5), from a folder or the Hub."""
        if config is None:
            hub = {key: kwargs[key] for key in _HUB_OPTIONS if key in kwargs}
            fields, _ = PreTrainedConfig.get_config_dict(pretrained_model_name_or_path, **hub)
            if fields.get("model_type") == "t5":
                return cls.from_t5(
                    T5ForConditionalGeneration.from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
                )
        return super().from_pretrained(pretrained_model_name_or_path, *args, config=config, **kwargs)

    @classmethod
    def from_t5(cls, plain: T5ForConditionalGeneration, **changes) -> P5T5ForConditionalGeneration:
        """Our model with the weights of a T5; ``changes`` are P5T5Config fields. Raises UserError for other weights."""
        fields = plain.config.to_dict()
        for key in ("model_type", "architectures", "transformers_version", "tie_word_embeddings"):
            fields.pop(key, None)
        if fields.get("decoder_start_token_id") is None:
            fields["decoder_start_token_id"] = fields.get("pad_token_id") or 0
        # Determined from the weights: T5's configuration says "tied" whatever they are.
        fields["untied_head"] = plain.lm_head.weight is not plain.shared.weight
        model = cls(P5T5Config(**{**fields, **changes}))
        nn.Module.to(model, dtype=plain.dtype)
        model.config._attn_implementation = plain.config._attn_implementation
        missing, unexpected = model.load_state_dict(plain.state_dict(), strict=False)
        missing = [
            name for name in missing if not name.startswith(("encoder.whole_words", "encoder.word_start"))
        ]
        if missing or unexpected:
            raise UserError(
                f"This is not a T5 checkpoint: missing {missing[:3]}, unexpected {unexpected[:3]}."
            )
        model.generation_config = plain.generation_config
        return model.eval() if not plain.training else model

    def encode(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """float [B, S, d_model]: the encoder's last hidden states, whole-word embeddings included."""
        return self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits [..., vocabulary] from the decoder's outputs [..., d_model]."""
        if self.config.scale_decoder_outputs:
            hidden = hidden * self.model_dim**-0.5
        return self.lm_head(hidden)

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.BoolTensor | None = None,
        encoder_outputs=None,
        past_key_values=None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        label_weights: torch.Tensor | None = None,
        soft_target_ids: torch.LongTensor | None = None,
        soft_target_weights: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | float | None = None,
        **kwargs,
    ) -> Seq2SeqLMOutput | tuple:
        """T5's forward with an exact loss.

        ``labels`` [B, T] with -100 where padded; ``label_weights`` float [B, T]; ``soft_target_ids`` and
        ``soft_target_weights`` [B, T, K]: further answers at each position and their weights (soft targets).
        The loss is sum(weight * nll) / ``num_items_in_batch``, by default divided by the sum of the
        weights; without weights each label has weight 1, which is HF's token mean.

        In training the head is computed at the real labels only, and ``logits`` is None: with short
        answers padded to the longest, or a large vocabulary, that saves most of the head's work. On a CPU
        the stacks then run in ``p5t5.model.cpu_kernels``, provided that only ids and a mask are given.

        Raises ValueError for soft targets without weights.
        """
        inputs = {
            "attention_mask": attention_mask,
            "decoder_attention_mask": decoder_attention_mask,
            "encoder_outputs": encoder_outputs,
            "past_key_values": past_key_values,
            "inputs_embeds": inputs_embeds,
        }
        if labels is None:
            return super().forward(
                input_ids=input_ids,
                decoder_input_ids=decoder_input_ids,
                decoder_inputs_embeds=decoder_inputs_embeds,
                use_cache=use_cache,
                **inputs,
                **kwargs,
            )
        if decoder_input_ids is None and decoder_inputs_embeds is None:
            decoder_input_ids = self._shift_right(labels)
        real = labels != -100
        weights = None if label_weights is None else label_weights[real]
        answers = labels[real]
        if soft_target_ids is not None:  # one true and K other answers per position
            if weights is None or soft_target_weights is None:
                raise ValueError(
                    "soft_target_ids need soft_target_weights, and label_weights reduced by their sum"
                )
            answers = torch.cat([answers[:, None], soft_target_ids[real]], 1)
            weights = torch.cat([weights[:, None], soft_target_weights[real]], 1)
        if self.training:
            return_dict = kwargs.pop("return_dict", None)
            unsupported = (
                decoder_attention_mask,
                encoder_outputs,
                past_key_values,
                inputs_embeds,
                decoder_inputs_embeds,
            )
            if not kwargs and all(value is None for value in unsupported) and can_fuse(self):
                loss = self._fused_loss(
                    input_ids, attention_mask, decoder_input_ids, real, answers, weights, num_items_in_batch
                )
            else:
                hidden = self._decoder_outputs(
                    input_ids, decoder_input_ids, decoder_inputs_embeds, inputs, kwargs
                )
                loss = exact_loss(self.head(hidden[real]), answers, weights, num_items_in_batch)
            return (loss,) if return_dict is False else Seq2SeqLMOutput(loss=loss)
        outputs = super().forward(
            input_ids=input_ids,
            decoder_input_ids=decoder_input_ids,
            decoder_inputs_embeds=decoder_inputs_embeds,
            use_cache=False,
            **inputs,
            **{**kwargs, "return_dict": True},
        )
        outputs.loss = exact_loss(outputs.logits[real], answers, weights, num_items_in_batch)
        # The outputs are an ordered dict in the order of their tuple: the loss comes first.
        outputs = Seq2SeqLMOutput(**outputs)
        return outputs.to_tuple() if kwargs.get("return_dict") is False else outputs

    def _fused_loss(
        self, input_ids, attention_mask, decoder_input_ids, real, answers, weights, num_items_in_batch
    ) -> torch.Tensor:
        """``exact_loss`` computed by ``p5t5.model.cpu_kernels`` and ``p5t5.model.head_loss``."""
        tied = TiedGradient()
        rows = Lookup.apply(
            self.shared.weight, torch.cat([input_ids.flatten(), decoder_input_ids.flatten()]), tied
        )
        inputs, targets = rows.split([input_ids.numel(), decoder_input_ids.numel()])
        inputs = inputs.view(*input_ids.shape, -1)
        if isinstance(self.encoder, P5T5Encoder):
            inputs = self.encoder.with_words(input_ids, inputs)
        hidden = decoder_states(self, inputs, attention_mask, targets.view(*decoder_input_ids.shape, -1))
        hidden = hidden[real]
        if self.config.scale_decoder_outputs:
            hidden = hidden * self.model_dim**-0.5
        shares = torch.ones_like(answers, dtype=hidden.dtype) if weights is None else weights.to(hidden.dtype)
        shares = shares / (shares.sum() if num_items_in_batch is None else num_items_in_batch)
        head = self.lm_head.weight
        return HeadLoss.apply(hidden, head, answers, shares, tied if head is self.shared.weight else None)

    def _decoder_outputs(
        self, input_ids, decoder_input_ids, decoder_inputs_embeds, inputs, kwargs
    ) -> torch.Tensor:
        """[B, T, d_model]: encoder and decoder, without a cache and without the head."""
        encoded = inputs["encoder_outputs"]
        if encoded is None:
            encoded = self.encoder(
                input_ids=input_ids,
                attention_mask=inputs["attention_mask"],
                inputs_embeds=inputs["inputs_embeds"],
                **kwargs,
            )
        return self.decoder(
            input_ids=decoder_input_ids,
            attention_mask=inputs["decoder_attention_mask"],
            inputs_embeds=decoder_inputs_embeds,
            encoder_hidden_states=encoded[0],
            encoder_attention_mask=inputs["attention_mask"],
            use_cache=False,
            **kwargs,
        )[0]


_HUB_OPTIONS = (
    "cache_dir",
    "force_download",
    "local_files_only",
    "token",
    "revision",
    "subfolder",
    "proxies",
)

AutoModelForSeq2SeqLM.register(P5T5Config, P5T5ForConditionalGeneration, exist_ok=True)


def exact_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor | None,
    num_items_in_batch: torch.Tensor | float | None,
) -> torch.Tensor:
    """Scalar: Σ weight · nll / number of items; ``logits`` [N, vocabulary], the others [N], or [N, K] where a
    position has several answers."""
    # bf16 logits would lose small differences that matter in a softmax over thousands of tokens.
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if labels.dim() == 1:
        nll = functional.cross_entropy(logits, labels, reduction="none")
    else:
        nll = -functional.log_softmax(logits, -1).gather(1, labels)
    if weights is not None:
        nll = nll * weights.to(nll.dtype)
    if num_items_in_batch is None:
        num_items_in_batch = nll.numel() if weights is None else weights.sum()
    if isinstance(num_items_in_batch, torch.Tensor):
        num_items_in_batch = num_items_in_batch.to(nll.device)
    return nll.sum() / num_items_in_batch


def export_t5(model: P5T5ForConditionalGeneration, folder: str | Path) -> None:
    """Writes a plain T5 checkpoint (config.json, model.safetensors) that any T5 code loads.

    Raises UserError for a model with whole-word embeddings.
    """
    if model.config.whole_word_embeddings:
        raise UserError("a plain T5 has no whole-word embeddings: train without them to export to T5.")
    fields: Mapping = {
        key: value
        for key, value in model.config.to_dict().items()
        if key not in ("model_type", "architectures", "untied_head", "whole_word_embeddings", "max_words")
    }
    scaled = model.config.scale_decoder_outputs
    config = T5Config(**{**fields, "tie_word_embeddings": scaled, "scale_decoder_outputs": scaled})
    config.architectures = ["T5ForConditionalGeneration"]
    with torch.device("meta"):
        plain = T5ForConditionalGeneration(config)
    plain.load_state_dict(model.state_dict(), assign=True)
    if not model.config.untied_head:
        plain.tie_weights()
    plain.generation_config = model.generation_config
    plain.save_pretrained(folder)
    make_readable(Path(folder) / "model.safetensors")
    if model.config.untied_head:
        # transformers 5 always writes "tied" and notices on loading; version 4 trusts the file.
        path = Path(folder) / "config.json"
        written = json.loads(path.read_text(encoding="utf-8"))
        written["tie_word_embeddings"] = False
        written["scale_decoder_outputs"] = scaled
        path.write_text(json.dumps(written, indent=2, sort_keys=True) + "\n", encoding="utf-8")
