"""Builds the API reference from the docstrings with pdoc; a warning is an error.

python scripts/api_reference.py build/api                all of p5t5
python scripts/api_reference.py build/api p5t5.metrics   one package
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
import warnings
from pathlib import Path

# The generated __init__ of a dataclass has its parent's annotations, which pdoc looks up in the wrong module.
INHERITED = re.compile(r"Error parsing type annotation .* for [\w.]+\.__init__\.", re.DOTALL)


def show_all(name: str) -> None:
    """Makes lazy exports, and submodules that ``__all__`` leaves out, visible to pdoc: in the module and all below it."""
    module = importlib.import_module(name)
    below = [one.name for one in pkgutil.iter_modules(getattr(module, "__path__", []))]
    below = [one for one in below if not one.startswith("_")]
    for one in below:
        show_all(f"{name}.{one}")
    if exported := getattr(module, "__all__", None):
        vars(module).update({one: getattr(module, one) for one in exported})
        module.__all__ = [*exported, *(one for one in below if one not in exported)]


def build(out: Path, names: list[str]) -> list[str]:
    """Writes the pages below ``out``; pdoc's warnings."""
    import pdoc

    for name in names:
        show_all(name)
    pdoc.render.configure(docformat="markdown", footer_text="p5t5")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pdoc.pdoc(*names, output_directory=out)
    found = [str(one.message) for one in caught if "pdoc" in Path(one.filename).parts]
    return [message for message in found if not INHERITED.match(message)]


def main(argv: list[str]) -> int:
    if not argv or argv[0].startswith("-"):
        print(__doc__)
        return 0 if argv in (["-h"], ["--help"]) else 2
    found = build(Path(argv[0]), argv[1:] or ["p5t5"])
    for message in found:
        print(f"api_reference: {message}", file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.path.pop(0)  # scripts/: its evaluate.py would hide the package of that name
    sys.exit(main(sys.argv[1:]))
