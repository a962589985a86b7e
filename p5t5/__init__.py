"""p5t5: one T5 that answers every recommendation question."""

from typing import TYPE_CHECKING, Any

from p5t5._version import __version__
from p5t5.model.auto import register as _register

if TYPE_CHECKING:
    from p5t5.core.errors import UserError
    from p5t5.data.build import prepare
    from p5t5.inference.answers import Answer, Recommendation
    from p5t5.recommender import Recommender
    from p5t5.workflows.compare import compare
    from p5t5.workflows.evaluate import evaluate
    from p5t5.workflows.finetune import finetune
    from p5t5.workflows.pretrain import pretrain
    from p5t5.workflows.push import push
    from p5t5.workflows.recommend import recommend
    from p5t5.workflows.update import update

__all__ = [
    "Answer", "Recommendation", "Recommender", "UserError", "__version__",
    "compare", "evaluate", "finetune", "prepare", "pretrain", "push", "recommend", "update",
]  # fmt: skip
# Loaded on first use: `import p5t5` alone does not load torch.
_HOMES = {name: f"workflows.{name}" for name in __all__ if name.islower() and name[0] != "_"}
_HOMES |= {"prepare": "data.build", "Answer": "inference.answers", "Recommendation": "inference.answers"}
_HOMES |= {"Recommender": "recommender", "UserError": "core.errors"}

_register({"transformers.pipelines": "p5t5.workflows.pipeline"})


def __getattr__(name: str) -> Any:
    """The public names, loaded on first use."""
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f"p5t5.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'p5t5' has no attribute {name!r}")
