#!/bin/sh
# Makes .venv with what requirements-dev.lock names, every file checked by its digest, and the node itself in it.
#
#   sh tests/tools/make_venv.sh            takes the newest Python from 3.11 to 3.13 on the PATH
#   PYTHON=/path/to/python sh ...          takes that one
set -eu
cd "$(dirname "$0")/../.."

# 3.11 is what the node's code needs; 3.13 is the last for which there are wheels of TensorFlow 2.21.
suitable() {
    # Asked, not looked up: version managers put a command on the PATH for Pythons that are not there.
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

find_python() {
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
        if suitable "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    echo "No Python from 3.11 to 3.13 is on the PATH, and TensorFlow has no wheels for others." >&2
    echo "Install one (Debian 12 and 13, Ubuntu 24.04: apt-get install python3), or name one: make setup PYTHON=..." >&2
    return 1
}

# Debian and Ubuntu keep venv's other half in a package of its own.
need_ensurepip() {
    "$1" -c 'import ensurepip' 2>/dev/null && return
    package=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ]; then
        apt-get update -qq && apt-get install -y -qq "$package" && return
    elif sudo -n true 2>/dev/null; then
        sudo apt-get update -qq && sudo apt-get install -y -qq "$package" && return
    fi
    echo "This Python cannot make a virtual environment yet. Type:  sudo apt-get install $package" >&2
    return 1
}

if ! suitable .venv/bin/python; then
    python=$(find_python)
    need_ensurepip "$python"
    echo "Making .venv with $("$python" --version). It takes some minutes and 3 GB of disk, most of it TensorFlow."
    "$python" -m venv --clear .venv
fi
export PIP_DISABLE_PIP_VERSION_CHECK=1
.venv/bin/python -m pip install --quiet --require-hashes -r requirements-dev.lock
# setuptools is in the lock (TensorFlow needs it), so nothing is fetched here that the lock does not name.
# An editable install is what is wanted, and needs no warning of a screen's length.
PYTHONWARNINGS="ignore:Editable installation" \
    .venv/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
