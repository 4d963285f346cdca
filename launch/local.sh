#!/usr/bin/env bash
# Trains with several processes on this host.
#
#   launch/local.sh N -- ARGUMENT ... of bot_jax.main
#   launch/local.sh 2 -- --config configs/quickstart.py --workdir runs/two
#
# The Python is that of .venv, which launch/install.sh makes, or $BOT_JAX_PYTHON. On a host with
# GPUs process i of several has GPU i of $CUDA_VISIBLE_DEVICES alone; on CPUs $JAX_NUM_CPU_DEVICES
# is the number of devices of each process. Relative paths start at the root of the checkout.
#
# SIGTERM and SIGINT go on to all processes, which save and end. Where one fails, the others have
# $GRACE_SECONDS (10) to say so, and are then killed. The exit code is that of the first one that
# failed; of several that failed at once, the largest: one that was killed, with code 128 and its
# signal, comes before one that noticed that.
set -euo pipefail

fail() {
    echo "Error: $1" >&2
    exit 2
}

usage="launch/local.sh N -- ARGUMENT ... of bot_jax.main"
[[ ${1:-} =~ ^[1-9][0-9]{0,3}$ ]] || fail "N, the number of processes, is missing: $usage"
[[ ${2:-} == -- ]] || fail "'--' is missing before the arguments of bot_jax.main: $usage"
count=$1
shift 2
grace=${GRACE_SECONDS:-10}

CDPATH='' cd -- "$(dirname -- "$0")/.."
if [[ -z ${BOT_JAX_PYTHON:-} ]]; then
    launch/install.sh
    BOT_JAX_PYTHON=.venv/bin/python
fi

several=()
if ((count > 1)); then
    port=$("$BOT_JAX_PYTHON" -c '
import socket
with socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET) as s:
    s.bind(("", 0))
    print(s.getsockname()[1])')
    several=(--coordinator "localhost:$port" --num-processes "$count")
fi

declare -a running=() # by the number of the process: its id
signals=()            # that came and were passed on
first=0               # the code of the first process that failed
deadline=             # in $SECONDS, from when on those that still run are killed

# shellcheck disable=SC2329,SC2317 # called by trap
pass_on() {
    signals+=("$1")
    kill -s "$1" "${running[@]}" 2>/dev/null || true
}
trap 'pass_on TERM' TERM
trap 'pass_on INT' INT
trap 'pass_on TERM' HUP
trap '((${#running[@]} == 0)) || kill -s KILL "${running[@]}" 2>/dev/null || true' EXIT

set -m # processes in groups of their own: they get SIGINT from here, once, and do not ignore it
for ((i = 0; i < count; i++)); do
    arguments=(-m bot_jax.main "$@")
    if ((count > 1)); then
        arguments+=("${several[@]}" --process-id "$i")
        export JAX_LOCAL_DEVICE_IDS=$i
    fi
    "$BOT_JAX_PYTHON" "${arguments[@]}" </dev/null &
    running[i]=$!
done
set +m
# One that came while they were started did not reach all of them.
for name in ${signals[@]+"${signals[@]}"}; do
    kill -s "$name" "${running[@]}" 2>/dev/null || true
done

# Notes the processes that have ended since the last look. Of those that failed the one with the
# largest code counts, if it is the first time that one did.
look() {
    local i ended worst=0 which
    for i in "${!running[@]}"; do
        if ! kill -0 "${running[i]}" 2>/dev/null; then
            ended=0
            wait "${running[i]}" || ended=$?
            unset "running[i]"
            if ((ended > worst)); then
                worst=$ended which=$i
            fi
        fi
    done
    if ((worst && !first)); then
        first=$worst
        deadline=$((SECONDS + grace))
        if ((first > 128 && first != 130 && first != 143)); then
            echo "Error: process $which was ended by signal $((first - 128))." >&3
        fi
    fi
}

exec 3>&2 2>/dev/null # the shell's own words about killed processes
while ((${#running[@]})); do
    sleep 0.2 || true
    look
    if [[ -n $deadline ]] && ((SECONDS >= deadline && ${#running[@]})); then
        echo "Error: process ${!running[*]} goes on $grace s after another failed: killed." >&3
        kill -s KILL "${running[@]}" || true
        deadline=
    fi
done
exit "$first"
