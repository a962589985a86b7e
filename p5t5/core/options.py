"""Fields of option dataclasses: a default with the help text that the command line shows."""

from __future__ import annotations

import dataclasses
from typing import Any


def option(default: Any, help: str, **more: Any) -> Any:
    """A dataclass field with a help text: ``steps: int = option(100, "how many")``."""
    if isinstance(default, (list, dict)):
        return dataclasses.field(
            default_factory=lambda: type(default)(default), metadata={"help": help, **more}
        )
    return dataclasses.field(default=default, metadata={"help": help, **more})


def required(help: str, **more: Any) -> Any:
    """A dataclass field that the command line (or the YAML file) must give."""
    return dataclasses.field(metadata={"help": help, **more})
