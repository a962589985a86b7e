"""p5t5: one T5 that answers every recommendation question."""

from typing import TYPE_CHECKING, Any

from p5t5._version import __version__
from p5t5.model.auto import register as _register

if TYPE_CHECKING:
    from p5t5.inference.answers import Answer, Recommendation
    from p5t5.recommender import Recommender

__all__ = ["Answer", "Recommendation", "Recommender", "__version__"]

_register()


def __getattr__(name: str) -> Any:
    """Recommender and its answers on first use: ``import p5t5`` alone does not load torch."""
    if name in ("Answer", "Recommendation", "Recommender"):
        import importlib

        return getattr(importlib.import_module("p5t5.recommender"), name)
    raise AttributeError(f"module 'p5t5' has no attribute {name!r}")
