"""p5t5: one T5 that answers every recommendation question."""

from typing import TYPE_CHECKING, Any

from p5t5.registration import register as _register

if TYPE_CHECKING:
    from p5t5.recommender import Answer, Recommendation, Recommender

__version__ = "0.1.0"
__all__ = ["Answer", "Recommendation", "Recommender", "__version__"]

_register()


def __getattr__(name: str) -> Any:
    """Recommender and its answers on first use: ``import p5t5`` alone does not load torch."""
    if name in ("Answer", "Recommendation", "Recommender"):
        import importlib

        return getattr(importlib.import_module("p5t5.recommender"), name)
    raise AttributeError(f"module 'p5t5' has no attribute {name!r}")
