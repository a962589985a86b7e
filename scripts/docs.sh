#!/usr/bin/env bash
# Sets up (once) and builds the API reference from the docstrings into build/api; a warning is an error.
set -euo pipefail
source "$(dirname "$0")/setup.sh" docs
cd "$root"
python scripts/api_reference.py build/api
echo "build/api/index.html"
