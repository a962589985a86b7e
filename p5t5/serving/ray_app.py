"""The same app as a Ray Serve application: ``serve run configs/ray/serve.yaml``. Needs the extra ``ray``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from p5t5.core.errors import UserError
from p5t5.core.options import from_keywords
from p5t5.serving.app import app
from p5t5.serving.settings import Settings


def build(args: Mapping[str, Any]) -> Any:
    """A Ray Serve application of replicas that each hold the model; ``args``: fields of `Settings`.

    Ray listens, so ``host`` and ``port`` do not count. UserError for what is no setting, and without Ray.
    """
    (settings,) = from_keywords("build", (Settings,), args)
    try:
        from ray import serve
    except ImportError as error:
        raise UserError('Ray Serve is not installed: pip install "p5t5[ray]".') from error

    def factory() -> Any:  # a plain function is called in each replica, where the model is to be
        return app(settings)

    @serve.deployment(name="P5T5")
    @serve.ingress(factory)
    class Replica:
        pass

    bound: Any = Replica  # the decorator makes a deployment of it
    return bound.bind()
