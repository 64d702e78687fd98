#!/bin/sh
# What every suite of a guest shares; cargo xtask vm puts it in front of the suite's own file.
#
# A suite prints one line per case, `PASS name` or `FAIL name: why`, and what the programs said when a case fails; and
# `TEST binary::name` for each test of ours that ran. Names of the case and its folder of logs are in $case and $dir.

VOLUME_BYTES=$((64 << 20))
export BLKECHO_RUN_DIR=/run/blkecho
mkdir -p $BLKECHO_RUN_DIR /mnt
port=9400
failures=0

fail() {
    echo "FAIL $case: $*"
    failures=$((failures + 1))
    for log in "$dir"/*.log; do
        echo "--- $log"
        tail -n "${log_lines:-25}" "$log"
    done
}

# wait_for SECONDS COMMAND...: whether it succeeds within the time.
wait_for() {
    limit=$1
    shift
    while ! "$@" >/dev/null 2>&1; do
        limit=$((limit - 1))
        [ $limit -gt 0 ] || return 1
        sleep 1
    done
}

alive() { kill -0 "$1" 2>/dev/null; }
gone() { ! alive "$1"; }

stop() {
    alive "$1" || return 0
    kill -TERM "$1"
    wait_for 30 gone "$1" || { kill -KILL "$1"; return 1; }
}

# Content is made once: emulated processors are slow at making random bytes and at starting programs.
prepare() {
    dd if=/dev/urandom of=/tmp/random bs=1M count=16 2>/dev/null
    i=0
    while [ $i -lt 80 ]; do
        mkdir -p /tmp/tree/d$((i % 7))
        dd if=/tmp/random of=/tmp/tree/d$((i % 7))/f$i bs=512 skip=$((i * 97)) count=$((i % 40 + 1)) 2>/dev/null
        i=$((i + 1))
    done
}

# Small files, big ones, an overwrite in place, deletion, trim: everything an ext4 sends to a disk.
ext4_workload() {
    mkfs.ext4 -q -F -E nodiscard "$1" || return 1
    mount -t ext4 -o discard "$1" /mnt || return 1
    cp -r /tmp/tree /mnt/one
    dd if=/tmp/random of=/mnt/big bs=1M count=12 2>/dev/null
    sync
    cp -r /tmp/tree /mnt/two
    dd if=/tmp/random of=/mnt/big bs=4k count=64 skip=1111 seek=100 conv=notrunc,fsync 2>/dev/null
    rm -r /mnt/one/d3 /mnt/one/d5 /mnt/two/d1
    dd if=/dev/zero of=/mnt/zeros bs=64k count=20 conv=fsync 2>/dev/null
    sync
    fstrim /mnt || echo "note: $case cannot trim"
    umount /mnt
}

# The same for xfs, whose log is written in other ways; as small as its makers do not support.
xfs_workload() {
    mkfs.xfs -q -f -K --unsupported "$1" || return 1
    mount -t xfs -o discard "$1" /mnt || return 1
    cp -r /tmp/tree /mnt/one
    dd if=/tmp/random of=/mnt/big bs=1M count=12 2>/dev/null
    sync
    dd if=/tmp/random of=/mnt/big bs=4k count=64 skip=777 seek=300 conv=notrunc,fsync 2>/dev/null
    rm -r /mnt/one/d2 /mnt/one/d6
    sync
    fstrim /mnt || echo "note: $case cannot trim"
    umount /mnt
}

# Direct writes that a file system would not send: one sector, odd offsets, the very end of the disk.
raw_workload() {
    sectors=$(($(blockdev --getsize64 "$1") / 512))
    for sector in 1 7 4095 8191 $((sectors - 1)); do
        dd if=/tmp/random of="$1" bs=512 count=1 skip=$((sector % 4096)) seek=$sector oflag=direct conv=notrunc 2>/dev/null || return 1
    done
    dd if=/tmp/random of="$1" bs=1M count=4 seek=50 oflag=direct conv=notrunc 2>/dev/null || return 1
    sync
}

# start_pair VOLUME LAYER: a standby that writes to VOLUME, an agent on $device, and what is there before copied.
start_pair() {
    port=$((port + 1))
    start_standby "$1"
    blkecho attach "$device" --layer "$2" --name disk --group "$case" --to 127.0.0.1:$port --dir "$dir/agent" \
        --journal-size 128M --ring-size 16M >"$dir/agent.log" 2>&1 &
    agent=$!
    wait_for 60 blkecho drain --group "$case" --timeout 60 || { fail "the first drain did not end"; return 1; }
}

# start_standby VOLUME: a standby of the case, anew or again.
start_standby() {
    blkecho standby --listen 127.0.0.1:$port --group "$case" --volume disk="$1" --overwrite --dir "$dir/standby" \
        --journal-size 128M >"$dir/standby.log" 2>&1 &
    standby=$!
}

end_pair() {
    stop $agent || fail "the agent did not stop"
    blkecho detach --group "$case" >"$dir/detach.log" 2>&1 || fail "detach failed"
    [ -z "$(ls /sys/fs/bpf/blkecho/"$case" 2>/dev/null)" ] || fail "detach left pins"
    stop $standby || fail "the standby did not stop"
    rm -rf "$dir"
}

# drained WORKLOAD: whether all of it is on the standby.
drained() {
    if ! blkecho drain --group "$case" --timeout 120 >"$dir/drain.log" 2>&1; then
        fail "$1: drain failed"
        blkecho status --json
        return 1
    fi
    if ! alive $agent || ! alive $standby; then
        fail "$1: a process died"
        return 1
    fi
}

# drained_equal WORKLOAD: drains and compares $device with $copy; past the page cache of the disk's own node.
drained_equal() {
    drained "$1" || return
    blockdev --flushbufs "$device"
    if cmp "$device" "$copy" >"$dir/compare.log" 2>&1; then
        echo "PASS $case $1"
    else
        fail "$1: bytes differ: $(cat "$dir/compare.log")"
        blkecho status --json
    fi
}
