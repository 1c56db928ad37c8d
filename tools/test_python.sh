#!/usr/bin/env bash
# Runs the operator's unit tests on another Python (3.13 unless told), in an environment of its own without torch.
# Where that Python is not on the machine it says so and exits 0: nothing is downloaded but packages.
set -euo pipefail
version=${1:-3.13}
uv=${UV:-uv}
folder=.venv-$version

find_python() {
  "$uv" python find --no-python-downloads --no-project --quiet "$version" 2>/dev/null && return
  ls -1d "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python 2>/dev/null | tail -1
}

python=$(find_python) || true
if [[ -z $python ]]; then
  echo "There is no Python $version on this machine; the operator's tests were not run on it."
  exit 0
fi
UV_PROJECT_ENVIRONMENT=$folder "$uv" sync --quiet --frozen --python "$python" --extra operator --no-editable \
  --no-install-package ruff --no-install-package mypy --no-install-package import-linter
"$folder/bin/python" --version
PYTHONPATH=trainer:operator "$folder/bin/python" -m pytest -q -p no:cacheprovider tests/unit/engine tests/unit/plan tests/unit/render
