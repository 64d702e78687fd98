# Runs in the guest: captures fio's writes to a disk of scsi_debug as SCSI commands, then writes them again by turns, with
# fio and as a standby does. ROUNDS and WRITES are set above. Prints `RESULT section|run|depth|JSON` for each run, and what
# the order of the deep recording allows as `BOUNDS JSON`.

DISK_MB=128
DRIVER=/sys/bus/pseudo/drivers/scsi_debug
export BLKECHO_RUN_DIR=/run/blkecho
mkdir -p $BLKECHO_RUN_DIR

die() {
    echo "FAIL replay: $*"
    tail -n 20 /tmp/*.log 2>/dev/null
    exit 1
}

wait_for() {
    limit=$1
    shift
    until "$@" >/dev/null 2>&1; do
        limit=$((limit - 1))
        [ $limit -gt 0 ] || return 1
        sleep 1
    done
}

clock="one processor of a nanosecond for each instruction"
modprobe sd_mod
modprobe sg
modprobe scsi_debug dev_size_mb=$DISK_MB delay=0 || die "no scsi_debug"
wait_for 20 test -b /dev/sda || die "no disk"
wait_for 20 test -c /dev/sg0 || die "no sg device"
bsg=/dev/bsg/$(basename "$(readlink /sys/block/sda/device)")

# load DEPTH WRITES: fio's writes at this depth, kept in the journal of an agent that has no standby.
load() {
    blkecho attach /dev/sda --name disk --group load$1 --layer scsi --to 127.0.0.1:9 --dir /tmp/load$1 \
        --journal-size 384M --ring-size 64M --detach-on-exit >/tmp/load$1.log 2>&1 &
    agent=$!
    wait_for 60 sh -c 'blkecho status --json | grep -q resynced_bytes' || die "the agent does not attach"
    fio --name=load --filename=/dev/sda --rw=randwrite --bs=4k --ioengine=libaio --direct=1 --norandommap \
        --iodepth=$1 --size=${DISK_MB}m --io_size=$(($2 * 4096)) >/tmp/fio.log 2>&1 || die "fio failed"
    sleep 3
    kill -INT $agent
    wait $agent || die "the agent failed"
    blkecho replay-bench /dev/sda --record /tmp/load$1/journal --iolog /tmp/iolog$1 || die "no addresses"
    echo "captured at depth $1: $(grep -c ' write ' /tmp/iolog$1) of $2 writes"
}

# by_fio NAME DEPTH ENGINE NODE; sg's own node knows no O_DIRECT, as nothing is cached there.
by_fio() {
    [ "$3" = sg ] && direct=0 || direct=1
    json=$(fio --name=replay --read_iolog=/tmp/iolog$group --replay_redirect=$4 --replay_no_stall=1 --ioengine=$3 \
        --direct=$direct --iodepth=$2 --output-format=json 2>/tmp/fio.log) || { cat /tmp/fio.log; die "$1"; }
    echo "RESULT $section|$1|$2|$(echo "$json" | tr -d '\n\t' | tr -s ' ')"
}

# by_us NAME DEPTH TARGET [OPTION]
by_us() {
    json=$(blkecho replay-bench "$3" --record /tmp/load$group/journal --overwrite --depth $2 $4 2>/tmp/us.log) ||
        { cat /tmp/us.log; die "$1"; }
    echo "RESULT $section|$1|$2|$json"
}

# deep: everything at depth 32 (sg takes 16 commands for each open file).
deep() {
    group=32
    by_fio "fio libaio" 32 libaio /dev/sda
    by_us "blkecho, SG_IO (disk)" 32 sg:/dev/sda
    by_us "blkecho, SG_IO (sg)" 32 /dev/sg0
    by_us "blkecho, SG_IO (bsg)" 32 "$bsg"
    by_us "blkecho, SG_IO (sg), unordered" 32 /dev/sg0 --unordered
    by_us "blkecho, block" 32 /dev/sda
    by_us "blkecho, block, unordered" 32 /dev/sda --unordered
    by_fio "fio sg" 16 sg /dev/sg0
    by_us "blkecho, SG_IO (sg), 16" 16 /dev/sg0
}

serial() {
    group=1
    by_fio "fio libaio" 1 libaio /dev/sda
    by_us "blkecho, SG_IO (disk)" 1 sg:/dev/sda
    by_us "blkecho, SG_IO (sg)" 1 /dev/sg0
    by_us "blkecho, block" 1 /dev/sda
    by_fio "fio sg" 1 sg /dev/sg0
}

# 32 are in flight only on a device that takes longer for one than the processor for 31: a recording of another one is shallower
# than its name, and the order would forbid what the depth allows.
echo 10000000 >$DRIVER/ndelay || die "no delay"
load 32 $WRITES
load 1 $((WRITES / 8))
echo "BOUNDS $(blkecho replay-bench /dev/sda --record /tmp/load32/journal --depth 32 --bounds)"
for delay in 0 1000000; do
    if [ $delay = 0 ]; then
        echo 0 >$DRIVER/delay
        section="SCSI disk of scsi_debug that answers at once, $clock"
    else
        echo $delay >$DRIVER/ndelay || die "no delay"
        section="SCSI disk of scsi_debug with a latency of 1 ms, $clock"
    fi
    round=0
    while [ $round -lt $ROUNDS ]; do
        round=$((round + 1))
        deep
        serial
    done
done
echo "PASS replay measured"
