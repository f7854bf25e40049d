#!/usr/bin/env bash
# Makes the virtual environment (first argument) with everything that development needs; run again, it brings it up to date.
set -euo pipefail

venv=${1:-.venv}
python=${PYTHON:-python3}
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Python 3.11 or newer is needed; $python is $("$python" --version 2>&1). Name another one: make PYTHON=python3.12 ..." >&2
    exit 1
}
# Debian packs venv apart from Python.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    setup/debian-packages.sh venv
fi
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv "$venv"
fi

install() { "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-input "$@"; }
echo "Preparing $venv (some minutes and 3 GB the first time) ..." >&2
# Dependency groups came with pip 25.1, which no stable Debian ships.
install --upgrade "pip>=25.1"
install --group torch
install --group dev --constraint setup/constraints.txt
echo "$venv is ready." >&2
