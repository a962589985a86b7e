#!/usr/bin/env bash
# Sets up (once) and checks everything: ruff, mypy, pytest with coverage. Arguments go to pytest:
#   bash scripts/test.sh                       all of it
#   bash scripts/test.sh tests/data/test_splits.py  one file (no coverage floor)
set -euo pipefail
source "$(dirname "$0")/setup.sh" test
cd "$root"
# The tests' models are tiny: one thread is quicker than two, and steadier on a shared machine.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
ruff check .
ruff format --check .
mypy
if [ $# -gt 0 ]; then
  exec pytest "$@"
fi
rm -f .coverage .coverage.*
# Files of tests side by side; more workers than cores would only wait for each other.
pytest -n "${P5T5_TEST_WORKERS:-2}" --dist loadfile --durations=15 --cov --cov-report=term --cov-fail-under=90
