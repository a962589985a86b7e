"""`--help` answers at once, because it imports nothing heavy, and it teaches."""

from __future__ import annotations

import subprocess
import sys

import pytest

from p5t5.cli.main import COMMANDS

HEAVY = (
    "torch",
    "transformers",
    "datasets",
    "accelerate",
    "scipy",
    "sklearn",
    "gradio",
    "fastapi",
    "pandas.core",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy(command):
    program = f"""
import sys
from p5t5.cli.main import main
try:
    code = main([{command!r}, "--help"])
except SystemExit as stop:
    code = stop.code
assert not code, code
heavy = sorted(set({HEAVY!r}) & {{name for name, module in sys.modules.items() if module is not None}})
print("imported:", *heavy)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("imported:\n"), done.stdout.splitlines()[-1]
    assert "usage: p5t5" in done.stdout and "(default: None)" not in done.stdout
