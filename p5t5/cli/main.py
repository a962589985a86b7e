"""``p5t5 COMMAND``: the door to every command."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from p5t5._version import __version__
from p5t5.core.errors import UserError

COMMANDS = {
    "prepare": "raw files → a data folder",
    "pretrain": "data folder → a model pretrained with masked spans",
    "finetune": "pretrained model (or none) → a model fine-tuned on several tasks",
    "update": "model and newer data → a model that knows the new items, users and interactions",
    "evaluate": "model and data → results.json, beside baselines",
    "report": "results.json → report.html and the model card",
    "recommend": "recommendations for many users → Parquet, CSV or JSON lines",
    "query": "a question in plain text → an answer",
    "serve": "a model → an HTTP service, with a page for people",
    "push": "a model's folder → the Hugging Face Hub, with its card",
    "compare": "models and baselines side by side, on the same rows",
    "doctor": "what works on this machine and what does not, with what to do",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code (2: the user's input is at fault)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["--version"]:
        print(__version__)
        return 0
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        print(f"p5t5: there is no command {name!r}; there are {', '.join(COMMANDS)}.", file=sys.stderr)
        return 2
    if {"-h", "--help"} & set(rest) and "pandas" not in sys.modules:
        sys.modules["pandas"] = _OnFirstUse("pandas")
    command = importlib.import_module(f"p5t5.cli.{name}")
    return command.main(rest)


class _OnFirstUse(types.ModuleType):
    """Stands for a library until something of it is used, which help never does, and its import takes most of the time."""

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        sys.modules.pop(self.__name__, None)
        self.__dict__.update(vars(importlib.import_module(self.__name__)))
        return self.__dict__[attribute]


def run(name: str, function: Callable[[], int | None]) -> int:
    """Calls ``function``; a user's mistake becomes one line on stderr and exit code 2."""
    try:
        return function() or 0
    except UserError as error:
        print(f"p5t5 {name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `p5t5 … | head`
        return 0
    except OSError as error:  # a full disk, a folder that can't be written
        where = f"{error.filename}: " if error.filename else ""
        print(f"p5t5 {name}: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"p5t5 {name}: stopped.", file=sys.stderr)
        return 130


def say(line: str) -> None:
    """A line on standard output at once, also where that is a file."""
    print(line, flush=True)


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "usage: p5t5 COMMAND [OPTIONS]",
            "",
            "One T5 that answers every recommendation question written as a prompt.",
            "",
            *lines,
            "",
            "`p5t5 COMMAND --help` shows a command's options and an example.",
            "example: p5t5 prepare ml-100k --out runs/ml-100k",
        ]
    )
