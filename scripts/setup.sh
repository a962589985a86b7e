# Sourced by quickstart.sh and test.sh: makes .venv in the project's root and installs p5t5 into it.
#   source scripts/setup.sh EXTRA          (EXTRA: quickstart or test)
# Skipped when a hash of pyproject.toml and constraints.txt is stamped in .venv already.
# P5T5_PYTHON picks the interpreter. P5T5_TORCH_INDEX may name an extra package index for torch alone,
# such as PyTorch's own index of CPU builds, to save the CUDA download on a machine without a GPU.
extra=$1
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
fail() { echo "setup: $*" >&2; exit 1; }

setup() {
  local python=${P5T5_PYTHON:-python3} stamp hash
  hash=$(cat "$root/pyproject.toml" "$root/constraints.txt" | sha256sum | cut -c1-16)
  stamp=$venv/.p5t5-$extra-$hash
  [ -e "$stamp" ] && return
  command -v "$python" >/dev/null || fail "no $python found. Install Python 3.10 or newer, or set P5T5_PYTHON."
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
    || fail "$("$python" --version) is too old: p5t5 needs Python 3.10 or newer. Set P5T5_PYTHON to one."
  "$python" -c 'import ensurepip, venv' 2>/dev/null \
    || fail "this Python cannot make virtual environments. On Debian or Ubuntu: apt install python3-venv."
  [ -x "$venv/bin/pip" ] || "$python" -m venv --clear "$venv" || fail "could not make $venv."
  echo "setup: installing p5t5[$extra] into .venv (a few minutes the first time)"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -c "$root/constraints.txt" \
    ${P5T5_TORCH_INDEX:+--extra-index-url "$P5T5_TORCH_INDEX"} torch \
    || fail "pip could not install torch. Is a package index reachable?"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -c "$root/constraints.txt" -e "$root[$extra]" \
    || fail "pip could not install p5t5[$extra]; its message is above."
  rm -f "$venv"/.p5t5-"$extra"-*
  touch "$stamp"
}

setup
export PATH="$venv/bin:$PATH" HF_HUB_OFFLINE="${HF_HUB_OFFLINE:-1}" TOKENIZERS_PARALLELISM=false
