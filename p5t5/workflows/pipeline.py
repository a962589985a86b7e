"""``transformers.pipeline("recommendation", model=…)``: a recommender behind the call that transformers' users know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import AutoModelForSeq2SeqLM
from transformers.pipelines import PIPELINE_REGISTRY, Pipeline

from p5t5.core.errors import UserError

TASK = "recommendation"


class RecommendationPipeline(Pipeline):
    """A question in words, or an object such as {"history": ["Alien (1979)"], "k": 5} → plain values (`plain_answer`).

    A list of them gives a list. ``recommender``: the one that answers. Raises UserError where the model is not from a
    p5t5 checkpoint.
    """

    _load_processor: Any = False
    _load_image_processor: Any = False
    _load_video_processor: Any = False
    _load_feature_extractor: Any = False
    _load_tokenizer: Any = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        from p5t5.checkpoint.checkpoint import Checkpoint
        from p5t5.checkpoint.hub import resolve
        from p5t5.fusion.blend import FUSION_FILE, Fusion
        from p5t5.recommender import Recommender

        super().__init__(*args, **kwargs)
        model: Any = self.model
        name = model.name_or_path
        if not name:
            raise UserError(
                "pipeline: give model= a checkpoint's folder or Hub id, so that its catalogue is found."
            )
        folder = resolve(name, getattr(model.config, "_commit_hash", None))
        checkpoint = Checkpoint.load(folder, model=model)
        blend = Fusion.load(folder) if (folder / FUSION_FILE).is_file() else None
        if blend is not None:
            blend.check(checkpoint.info.data.hash)
        self.recommender = Recommender(checkpoint, fusion=blend)

    def _sanitize_parameters(self, **options: Any) -> tuple[dict, dict, dict]:
        return {}, options, {}

    def preprocess(self, input_: Any, **_: Any) -> dict[str, Any]:
        return {"inputs": input_}

    def _forward(self, input_tensors: dict[str, Any], **options: Any) -> Any:
        return self(input_tensors["inputs"], **options)

    def postprocess(self, model_outputs: Any, **_: Any) -> Any:
        return model_outputs

    def __call__(self, inputs: str | Mapping[str, Any] | list[Any], **options: Any) -> Any:  # type: ignore[override]
        """The answer, or one per element of a list; ``options``: as in `plain_answer`, such as ``k=5``."""
        from p5t5.workflows.plain_answers import plain_answer

        options = {**self._forward_params, **options}
        if isinstance(inputs, list):
            return [plain_answer(self.recommender, one, **options) for one in inputs]
        return plain_answer(self.recommender, inputs, **options)


PIPELINE_REGISTRY.register_pipeline(TASK, RecommendationPipeline, pt_model=AutoModelForSeq2SeqLM, type="text")
