#!/bin/sh
# Makes .venv in the root of the checkout and installs bot_jax and its tools into it.
#
#   launch/install.sh
#
# The other launch scripts call it first; once .venv is up to date it returns at once. The
# environment variable BOT_JAX_EXTRAS=cuda12 or cuda13 adds JAX for NVIDIA GPUs; without it JAX
# runs on the CPU. Needs Python 3.11, 3.12 or 3.13 somewhere on PATH.
#
# .venv/installed-for says what .venv was installed for. It holds "unfinished" until the first
# install has succeeded, so that one which was interrupted starts over from an empty .venv.
set -eu

fail() {
    echo "Error: $1" >&2
    exit 1
}

# Prints the version of the Python at $1, or nothing if it does not run or lacks the modules $2.
version_of() {
    "$1" -c "import platform${2:+, $2}; print(platform.python_version())" \
        </dev/null 2>/dev/null || true
}

# Prints the path of the newest supported Python on PATH. Every directory of PATH is tried, since
# the first one may hold a version manager's stand-in that does not run.
find_python() (
    set -f
    IFS=:
    for version in 3.13 3.12 3.11; do
        for name in "python$version" python3 python; do
            for directory in $PATH; do
                case $(version_of "$directory/$name" "ensurepip, venv") in
                    "$version".*) echo "$directory/$name" && exit ;;
                esac
            done
        done
    done
    exit 1
)

CDPATH='' cd -- "$(dirname -- "$0")/.."
root=$(pwd -P)
log=$root/.venv/install.log

case ${BOT_JAX_EXTRAS:=} in
    "") extras=dev needed_mb=5000 ;;
    cuda12 | cuda13) extras=dev,$BOT_JAX_EXTRAS needed_mb=12000 ;;
    *) fail "BOT_JAX_EXTRAS is '$BOT_JAX_EXTRAS', but must be cuda12, cuda13 or unset." ;;
esac

# A checkout that was moved or copied needs a new install: an editable install holds its path.
requirements="$(cat pyproject.toml constraints.txt | cksum) $extras in $root"
state=$(cat .venv/installed-for 2>/dev/null || true)
version=$(version_of .venv/bin/python)
if [ -n "$version" ] && [ "$state" = "$requirements, Python $version" ]; then
    exit 0
fi

case $version in
    "" | 3.11.* | 3.12.* | 3.13.*) ;;
    *) fail ".venv holds Python $version, but 3.11, 3.12 or 3.13 is needed; remove $root/.venv and \
run this script again." ;;
esac

if [ -z "$version" ] || [ "$state" = unfinished ]; then
    python=$(find_python) || fail "No Python 3.11, 3.12 or 3.13 that can make a virtual \
environment is on PATH; install one (Debian and Ubuntu: also its python3-venv package) and run \
this script again."
    free_mb=$(df -Pm . | awk 'NR == 2 { for (i = 2; i < NF; i++) if ($i ~ /%$/) print $(i - 1) }')
    if [ "${free_mb:-$needed_mb}" -lt "$needed_mb" ]; then
        fail "Only $free_mb MB are free in $root, but the install needs about $needed_mb MB; free \
some space and run this script again."
    fi
    echo "Making .venv with $python ..."
    { rm -rf .venv && mkdir .venv && echo unfinished >.venv/installed-for; } 2>/dev/null ||
        fail "Cannot write to $root; put the checkout where you may write."
    "$python" -m venv .venv >"$log" 2>&1 </dev/null ||
        fail "$python could not make a virtual environment; what it said is in $log."
    version=$(version_of .venv/bin/python)
fi

echo "Installing into .venv (about 3 GB, some minutes) ..."
# setuptools comes first and builds bot_jax itself, so that its version is pinned too.
{
    .venv/bin/python -m pip install -c constraints.txt setuptools &&
        .venv/bin/python -m pip install -c constraints.txt --no-build-isolation -e ".[$extras]"
} >>"$log" 2>&1 </dev/null ||
    fail "The install failed (is there a network connection?); pip's output is in $log."
echo "$requirements, Python $version" >.venv/installed-for
echo "Installed."
