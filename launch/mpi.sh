#!/usr/bin/env bash
# Trains with several processes that Open MPI's mpirun starts, on one host or several.
#
#   launch/mpi.sh N [MPIRUN OPTION ...] -- ARGUMENT ... of bot_jax.main
#   launch/mpi.sh 2 -- --config configs/quickstart.py --workdir runs/two
#   launch/mpi.sh 16 --hostfile hosts -- --config ... --workdir /shared/runs/sixteen
#
# Every host has this checkout and its Python (.venv, or $BOT_JAX_PYTHON) at the same place. On
# hosts with GPUs a process has one: the number of processes on a host is that of its GPUs.
set -euo pipefail

fail() {
    echo "Error: $1" >&2
    exit 2
}

usage="launch/mpi.sh N [MPIRUN OPTION ...] -- ARGUMENT ... of bot_jax.main"
[[ ${1:-} =~ ^[1-9][0-9]{0,4}$ ]] || fail "N, the number of processes, is missing: $usage"
command -v mpirun >/dev/null || fail "mpirun is not on PATH: install Open MPI (openmpi-bin)."
count=$1
shift
options=()
while [[ $# -gt 0 && $1 != -- ]]; do
    options+=("$1")
    shift
done
[[ ${1:-} == -- ]] || fail "'--' is missing before the arguments of bot_jax.main: $usage"
shift

CDPATH='' cd -- "$(dirname -- "$0")/.."
if [[ -z ${BOT_JAX_PYTHON:-} ]]; then
    launch/install.sh
    BOT_JAX_PYTHON=$PWD/.venv/bin/python
fi

# To mpirun the processes print to a terminal, whatever it prints to itself.
[[ -t 1 ]] || export TTY_COMPATIBLE=0
# mpirun passes on no environment to other hosts, but what it is told to.
while read -r name; do
    options+=(-x "$name")
done < <(compgen -e | grep -E '^(JAX|XLA|NCCL)_|^(BOT_JAX_PYTHON|CUDA_VISIBLE_DEVICES|TTY_COMPATIBLE)$')

# Told to end, mpirun would kill the processes a second later, too early to have saved. SIGUSR1 it
# passes on, and bot_jax takes that for SIGTERM. A second signal ends everything at once.
received=()
# shellcheck disable=SC2329,SC2317 # called by trap
stop() {
    received+=("$1")
    if ((${#received[@]} == 1)); then
        kill -s USR1 "$mpirun" 2>/dev/null || true
    else
        kill -s TERM "$mpirun" 2>/dev/null || true
    fi
}

# Bound to a core each, as is the default, the threads of a process would share that core.
set -m # in a group of its own, so that Ctrl-C reaches it through `stop` alone
mpirun -n "$count" --bind-to none --stdin none ${options[@]+"${options[@]}"} \
    "$BOT_JAX_PYTHON" -m bot_jax.main "$@" </dev/null &
mpirun=$!
set +m
trap 'stop TERM' TERM HUP
trap 'stop INT' INT

code=0
while kill -0 "$mpirun" 2>/dev/null; do # `wait` also returns when a signal has come
    code=0
    wait "$mpirun" || code=$?
done
if [[ $code -eq 143 && ${received[0]:-} == INT ]]; then
    code=130
fi
exit "$code"
