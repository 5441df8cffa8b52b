# A Slurm of one node, this machine, for tests: sourced with a folder for its files in $folder and
# a function `fault`. It trusts everybody, listens on ports of its own, and ends with slurm_end.
# shellcheck shell=bash

slurm_begin() {
    local cores port host
    cores=$(nproc)
    port=$((20000 + RANDOM % 20000))
    host=$(hostname -s)
    mkdir -p "$folder/slurm/state" "$folder/slurm/spool"
    export SLURM_CONF=$folder/slurm/slurm.conf
    cat >"$SLURM_CONF" <<END
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/none
CredType=cred/none
SlurmctldPort=$port
SlurmdPort=$((port + 1))
StateSaveLocation=$folder/slurm/state
SlurmdSpoolDir=$folder/slurm/spool
SlurmctldPidFile=$folder/slurm/slurmctld.pid
SlurmdPidFile=$folder/slurm/slurmd.pid
SlurmctldLogFile=$folder/slurm/slurmctld.log
SlurmdLogFile=$folder/slurm/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=1
MinJobAge=300
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobRequeue=1
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
END
    slurmctld -D >"$folder/slurm/ctl.out" 2>&1 &
    slurm_pids=$!
    slurmd -D >"$folder/slurm/d.out" 2>&1 &
    slurm_pids="$slurm_pids $!"
    local end=$((SECONDS + 60))
    until sinfo -h -o %T 2>/dev/null | grep -qE '^(idle|mixed)$'; do
        [ $SECONDS -lt $end ] || fault "Slurm does not start: $(tail -n 5 "$folder"/slurm/*.log "$folder"/slurm/*.out)"
        sleep 0.2
    done
}

slurm_end() {
    # shellcheck disable=SC2086  # several numbers
    [ -z "${slurm_pids-}" ] || kill $slurm_pids 2>/dev/null || true
    wait 2>/dev/null || true
}
