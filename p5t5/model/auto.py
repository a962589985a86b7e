"""Registers p5t5 models with transformers' Auto classes, without importing torch on ``import p5t5``.

Importing transformers takes about four seconds, which ``p5t5 --help`` should not pay for. So nothing is imported
here: a finder on ``sys.meta_path`` waits until transformers' Auto modules are imported, and then registers our
configuration after the one and our model after the other; at once where they are imported already.
``AutoModelForSeq2SeqLM.from_pretrained`` then works after ``import p5t5``.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys

_CONFIGS = "transformers.models.auto.configuration_auto"
_MODELS = "transformers.models.auto.modeling_auto"
_started: set[str] = set()


class _AfterAutoClasses(importlib.abc.MetaPathFinder):
    """Lets transformers' Auto modules be imported as usual, then registers ours."""

    def __init__(self):
        self.waiting = {_CONFIGS, _MODELS}

    def find_spec(self, name, path=None, target=None):
        if name not in self.waiting:
            return None
        self.waiting.remove(name)  # so that the next line does not ask us again
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_register(module):
            execute(module)
            # The models' module imports the configurations' module and must be complete before a
            # configuration class can be defined: while it is half imported, wait for it to finish.
            if name == _MODELS or _MODELS not in sys.modules:
                _register()

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def _register() -> None:
    """Registers what can be registered now: the configuration, then the model once its Auto class exists."""
    if "config" not in _started:
        _started.add("config")
        # May import the other Auto module, whose hook calls this again and must wait: see "configured".
        from p5t5.model.configuration import P5T5Config

        sys.modules[_CONFIGS].AutoConfig.register("p5t5", P5T5Config, exist_ok=True)
        _started.add("configured")
    has_models = hasattr(sys.modules.get(_MODELS), "AutoModelForSeq2SeqLM")
    if has_models and "configured" in _started and "model" not in _started:
        _started.add("model")
        importlib.import_module("p5t5.model.modeling")  # registers itself at its end


def register() -> None:
    """Registers at once if transformers' Auto classes are imported, otherwise when they are."""
    if hasattr(sys.modules.get(_CONFIGS), "AutoConfig"):
        _register()
    if not any(isinstance(finder, _AfterAutoClasses) for finder in sys.meta_path):
        finder = _AfterAutoClasses()
        finder.waiting -= sys.modules.keys()
        sys.meta_path.insert(0, finder)
