"""Makes transformers' Auto classes know p5t5 models, without importing torch on ``import p5t5``.

The configuration is registered as soon as transformers' Auto classes exist: at once where they are
already imported, else right after somebody imports them. Making a ``P5T5Config`` then registers the
model class (see ``configuration.py``), so ``AutoModelForSeq2SeqLM.from_pretrained`` works after
``import p5t5``, and ``p5t5 --help`` does not wait four seconds for torch and transformers.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys

_CONFIGS = "transformers.models.auto.configuration_auto"
_MODELS = "transformers.models.auto.modeling_auto"
_started = False


class _AfterAutoClasses(importlib.abc.MetaPathFinder):
    """Lets the import of transformers' Auto modules happen as usual, then registers ours."""

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
            # The models' module imports the configurations' and is needed whole to define a
            # configuration class: while it is half imported, wait for its end.
            if name == _MODELS or _MODELS not in sys.modules:
                _register()

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def _register() -> None:
    global _started
    if _started:  # also while the next line imports the other Auto module
        return
    _started = True
    from p5t5.configuration import P5T5Config

    sys.modules[_CONFIGS].AutoConfig.register("p5t5", P5T5Config, exist_ok=True)


def register() -> None:
    """Registers now if transformers' Auto classes are imported, else when they are."""
    if hasattr(sys.modules.get(_CONFIGS), "AutoConfig"):
        _register()
    elif not any(isinstance(finder, _AfterAutoClasses) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterAutoClasses())
