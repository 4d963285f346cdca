#!/usr/bin/env bash
# SLURM on this host alone, to try launch/slurm.sbatch. As root, without systemd.
#
#   apt-get install slurm-wlm munge
#   tests/slurm_one_node.sh start DIR
#   export SLURM_CONF=DIR/slurm.conf
#   sbatch --ntasks-per-node=2 launch/slurm.sbatch --config ... --workdir ...
#   tests/slurm_one_node.sh stop DIR
#
# All files are below DIR, whose path is short (a socket is in it) and absolute. Ports are free ones.
set -euo pipefail

fail() {
    echo "Error: $1" >&2
    exit 2
}

[[ $# -eq 2 && $1 =~ ^(start|stop)$ && $2 == /* ]] || fail "tests/slurm_one_node.sh start|stop /DIR"
directory=$2

stop() {
    local name pid
    for name in slurmd slurmctld munged; do
        pid=$(cat "$directory/$name.pid" 2>/dev/null) || continue
        [[ $(cat "/proc/$pid/comm" 2>/dev/null) == "$name" ]] || continue
        kill "$pid" || true
        for _ in {1..50}; do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -9 "$pid" 2>/dev/null || true
    done
}

if [[ $1 == stop ]]; then
    stop
    exit
fi

for program in munged slurmctld slurmd sbatch srun; do
    PATH=$PATH:/usr/sbin command -v "$program" >/dev/null || fail "there is no $program: install slurm-wlm and munge."
done
export PATH=$PATH:/usr/sbin
mkdir -p "$directory"/{state,spool,munge}
chmod 700 "$directory/munge"
read -r port_ctld port_d < <(python3 -c '
import socket
sockets = [socket.socket() for _ in range(2)]
for s in sockets:
    s.bind(("", 0))
print(*(s.getsockname()[1] for s in sockets))')
host=$(hostname -s)
cat >"$directory/slurm.conf" <<END
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port_ctld
SlurmdPort=$port_d
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$directory/munge/socket
StateSaveLocation=$directory/state
SlurmdSpoolDir=$directory/spool
SlurmctldPidFile=$directory/slurmctld.pid
SlurmdPidFile=$directory/slurmd.pid
SlurmctldLogFile=$directory/slurmctld.log
SlurmdLogFile=$directory/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/linear
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait=120
MinJobAge=3600
NodeName=$host NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=all Nodes=$host Default=YES State=UP
END

trap stop ERR
dd if=/dev/urandom of="$directory/munge/key" bs=1024 count=1 status=none
chmod 400 "$directory/munge/key"
munged --force --key-file="$directory/munge/key" --socket="$directory/munge/socket" \
    --pid-file="$directory/munged.pid" --log-file="$directory/munge/log" \
    --seed-file="$directory/munge/seed" 2>"$directory/munge/warnings"
export SLURM_CONF=$directory/slurm.conf
slurmctld
slurmd
for _ in {1..300}; do
    if [[ $(sinfo --noheader --format=%t 2>/dev/null) == idle ]]; then
        exit
    fi
    sleep 0.1
done
stop
fail "SLURM did not come up within 30 s; see $directory/*.log."
