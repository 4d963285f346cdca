#!/bin/sh
# Trains a small network on a small data set, on a machine that has nothing but Python.
#
#   launch/quickstart.sh [FLAG ...]
#
# Flags are passed on to bot_jax.main, for example --config.seed=1; relative paths in them start
# at the root of the checkout. Results are written to runs/quickstart.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
launch/install.sh
exec .venv/bin/python -m bot_jax.main \
    --config configs/quickstart.py --workdir runs/quickstart "$@"
