#!/bin/sh
# Run a command beside a real Slurm of one node, this machine:  slurm.sh COMMAND...
# Where Slurm and munge are not installed and apt-get may be used, Debian's packages slurm-wlm and munge are. Everything else, the configuration
# made for this machine, the key of munge, state, logs, lies in a temporary folder; daemons listen on the loopback address, on ports of their own, and
# are ended with the command. The command sees SLURM_CONF and MATTERLOOP_TEST_SLURM=1.
set -u
[ $# -gt 0 ] || { echo "usage: slurm.sh COMMAND..." >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "slurm.sh: only root may run slurmd" >&2; exit 1; }
PATH=$PATH:/usr/sbin

if ! command -v slurmctld >/dev/null || ! command -v slurmd >/dev/null || ! command -v munged >/dev/null || ! command -v ps >/dev/null; then
    command -v apt-get >/dev/null || { echo "slurm.sh: Slurm is not installed and there is no apt-get" >&2; exit 1; }
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    if ! { apt-get update -q && apt-get install -q -y --no-install-recommends slurm-wlm munge procps; } >"$log" 2>&1; then
        tail -n 5 "$log" >&2
        echo "slurm.sh: apt-get could not install slurm-wlm and munge" >&2
        exit 1
    fi
    rm -f "$log"
fi

place=$(mktemp -d /tmp/slurm.XXXXXX)
chmod 755 "$place"
mkdir -m 700 "$place/key" "$place/state" "$place/spool"
mkdir -m 755 "$place/munge"
dd if=/dev/urandom of="$place/key/munge.key" bs=128 count=1 2>/dev/null
chmod 400 "$place/key/munge.key"
node=$(hostname -s)
port=${SLURM_TEST_PORT:-16817}
# the first line of `slurmd -C` describes this machine: NodeName=... CPUs=... RealMemory=...
hardware=$(slurmd -C | head -n 1 | sed 's/^NodeName=[^ ]* //')
cat >"$place/slurm.conf" <<CONF
ClusterName=one
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$place/munge/socket
CredType=cred/munge
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/slurmd.pid
SlurmctldLogFile=$place/slurmctld.log
SlurmdLogFile=$place/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1
KillWait=10
SlurmdParameters=config_overrides
NodeName=$node NodeAddr=127.0.0.1 $hardware State=UNKNOWN
PartitionName=test Nodes=$node Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$place/slurm.conf"

end() {
    scancel --state=RUNNING,PENDING --user=root >/dev/null 2>&1
    sleep 1
    for one in slurmd slurmctld munged; do
        [ -f "$place/$one.pid" ] && kill "$(cat "$place/$one.pid")" 2>/dev/null
    done
    sleep 1
    [ "${SLURM_TEST_KEEP:-0}" = 1 ] && echo "slurm.sh: logs stay in $place" >&2 || rm -rf "$place"
}
trap end EXIT
trap 'exit 130' INT TERM

fail() {
    tail -n 20 "$place"/*.log >&2
    echo "slurm.sh: $1" >&2
    exit 1
}

munged --force --key-file="$place/key/munge.key" --socket="$place/munge/socket" --pid-file="$place/munged.pid" --log-file="$place/munged.log" \
    --seed-file="$place/munged.seed" --num-threads=2 || fail "munged does not start"
slurmctld || fail "slurmctld does not start"
slurmd || fail "slurmd does not start"
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    [ "$(sinfo --noheader --format=%T 2>/dev/null | head -n 1)" = idle ] && break
    sleep 1
done
[ "$(srun --immediate=30 --ntasks=1 echo ready 2>/dev/null)" = ready ] || fail "a job does not run"
MATTERLOOP_TEST_SLURM=1 "$@"
