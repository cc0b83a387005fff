#!/usr/bin/env bash
# Creates a virtual environment with this package and one of its extras.
# Usage: scripts/setup.sh [FOLDER [EXTRA]]   (default .venv, and dev: everything that the tests need)
#   PYTHON           the interpreter to start from, 3.11 or newer (default python3)
#   TORCH_VERSION    (default 2.13.0)
#   TORCH_INDEX_URL  index of torch's CPU or CUDA builds (default: pip's own index)
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}
extra=${2:-dev}
python=${PYTHON:-python3}

stop() { printf 'scripts/setup.sh: %s\n' "$1" >&2; exit 1; }

command -v "$python" >/dev/null || stop "$python was not found; Python 3.11 or newer is needed (or name it: PYTHON=...)"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || stop "$("$python" --version) is too old; Python 3.11 or newer is needed (name it: PYTHON=...)"
"$python" -c 'import ensurepip, venv' 2>/dev/null \
    || stop "$python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv"
if [ "$extra" = dev ]; then
    command -v gcc >/dev/null || stop "gcc was not found; the metric pesq is compiled here. On Debian and Ubuntu: apt-get install gcc"
    "$python" -c 'import os, sysconfig; os.stat(os.path.join(sysconfig.get_path("include"), "Python.h"))' 2>/dev/null \
        || stop "Python.h was not found; the metric pesq is compiled here. On Debian and Ubuntu: apt-get install python3-dev"
fi

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet)
# torch first, so that the version and build named above are installed and not the newest with gigabytes of CUDA.
"${pip[@]}" install "torch==${TORCH_VERSION:-2.13.0}" ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"}
"${pip[@]}" install --editable ".[$extra]"
"$venv/bin/python" - <<'EOF'
import torch

print(f"environment ready: torch {torch.__version__}")
EOF
