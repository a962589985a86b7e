"""Registers p5t5 models with transformers' Auto classes, without importing torch on ``import p5t5``.

Importing transformers takes about four seconds, which ``p5t5 --help`` should not pay for. So nothing is imported
here: a finder on ``sys.meta_path`` waits until a module of transformers is imported, and then imports ours that registers
itself there; at once where it is imported already. The model registers itself when it is first needed, with the first
configuration (`model.configuration`): here transformers may be half imported, and could not give it its bases.
``AutoModelForSeq2SeqLM.from_pretrained`` then works after ``import p5t5``.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Mapping

_CONFIGS = "transformers.models.auto.configuration_auto"
_MODELS = "transformers.models.auto.modeling_auto"
AFTER = dict.fromkeys((_CONFIGS, _MODELS), "p5t5.model.configuration")


class _AfterImport(importlib.abc.MetaPathFinder):
    """Lets modules be imported as usual, and then imports ours."""

    def __init__(self, after: Mapping[str, str]):
        self.after = dict(after)

    def find_spec(self, name, path=None, target=None):
        if name not in self.after:
            return None
        ours = self.after.pop(name)  # so that the next line does not ask us again
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_register(module):
            execute(module)
            # The models' module imports the configurations' module and must be complete before a
            # configuration class can be defined: while it is half imported, wait for it to finish.
            if name != _CONFIGS or _MODELS not in sys.modules:
                importlib.import_module(ours)

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def register(after: Mapping[str, str] | None = None) -> None:
    """Registers at once if transformers' Auto classes are imported, otherwise when they are.

    ``after``: further modules of transformers → ours that register themselves there.
    """
    waiting = {}
    for name, ours in {**AFTER, **(after or {})}.items():
        if name not in sys.modules:
            waiting[name] = ours
        elif name != _MODELS:
            importlib.import_module(ours)
    if waiting and not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport(waiting))
