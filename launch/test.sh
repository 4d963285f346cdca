#!/bin/sh
# Runs the tests, on a machine that has nothing but Python.
#
#   launch/test.sh [ARGUMENT ...]
#
# Arguments are passed on to pytest, for example tests/test_rng.py, or -m "not exhaustive" to
# include the slow tests; relative paths in them start at the root of the checkout.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
launch/install.sh
exec .venv/bin/python -m pytest "$@"
