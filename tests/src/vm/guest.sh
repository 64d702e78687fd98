#!/bin/sh
# The suite that runs in a virtual machine (cargo xtask vm): for every kind of disk a standby on an image file, the
# agent on the disk, a file system workload, a drain, and a comparison of every byte.
#
# Prints one line per case, `PASS name` or `FAIL name: why`, and what the programs said when a case fails.
# Disks: /dev/vda (virtio), /dev/vdb and /dev/vdc (for dm and md), and scsi_debug's, which is loaded here.

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
        tail -n 25 "$log"
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

# Direct writes that a file system would not send: one sector, odd offsets, the very end of the disk.
raw_workload() {
    sectors=$(($(blockdev --getsize64 "$1") / 512))
    for sector in 1 7 4095 8191 $((sectors - 1)); do
        dd if=/tmp/random of="$1" bs=512 count=1 skip=$((sector % 4096)) seek=$sector oflag=direct conv=notrunc 2>/dev/null || return 1
    done
    dd if=/tmp/random of="$1" bs=1M count=4 seek=50 oflag=direct conv=notrunc 2>/dev/null || return 1
    sync
}

# one_case NAME DEVICE
one_case() {
    case=$1
    device=$2
    dir=/tmp/$case
    port=$((port + 1))
    mkdir -p "$dir"
    [ -b "$device" ] || { : >"$dir/none.log"; fail "there is no $device"; return; }
    truncate -s "$(blockdev --getsize64 "$device")" "$dir/image"
    # Content from before the attach must arrive too.
    dd if=/tmp/random of="$device" bs=64k count=16 seek=3 conv=fsync 2>/dev/null

    blkecho standby --listen 127.0.0.1:$port --group "$case" --volume disk="$dir/image" --dir "$dir/standby" \
        --journal-size 128M >"$dir/standby.log" 2>&1 &
    standby=$!
    blkecho attach "$device" --name disk --group "$case" --to 127.0.0.1:$port --dir "$dir/agent" \
        --journal-size 128M --ring-size 16M >"$dir/agent.log" 2>&1 &
    agent=$!
    if wait_for 60 blkecho drain --group "$case" --timeout 60; then
        replicate
    else
        fail "the first drain did not end"
    fi
    stop $agent || fail "the agent did not stop"
    blkecho detach --group "$case" >"$dir/detach.log" 2>&1 || fail "detach failed"
    [ -z "$(ls /sys/fs/bpf/blkecho/"$case" 2>/dev/null)" ] || fail "detach left pins"
    stop $standby || fail "the standby did not stop"
    rm -rf "$dir"
}

# Commands that programs send past the file system and the disk driver, some of which the device refuses.
passthrough_workload() {
    sg_raw -s 512 -i /tmp/random "$1" 2a 00 00 00 00 64 00 00 01 00 || return 1
    sg_raw -s 1024 -i /tmp/random "$1" 8a 08 00 00 00 00 00 00 10 00 00 00 00 02 00 00 || return 1
    sg_write_same --in=/tmp/random --xferlen=512 --lba=200 --num=16 "$1" || return 1
    sg_write_same --16 --unmap --lba=400 --num=16 --xferlen=512 --in=/dev/zero "$1" || return 1
    sg_unmap --lba=300 --num=8 --force "$1" || return 1
    # scsi_debug of some kernels does not know it.
    sg_write_verify --lba=700 --num=1 --ilen=512 --in=/tmp/random "$1"
    dd if="$1" of=/tmp/pair bs=512 count=1 skip=4096 2>/dev/null
    dd if=/tmp/random of=/tmp/pair bs=512 count=1 skip=9 seek=1 conv=notrunc 2>/dev/null
    sg_compare_and_write --in=/tmp/pair --lba=4096 --num=1 --xferlen=1024 "$1" || return 1
    # Miscompare, and beyond the end: neither changes anything.
    sg_compare_and_write --in=/tmp/pair --lba=4096 --num=1 --xferlen=1024 "$1" && return 1
    sg_raw -s 512 -i /tmp/random "$1" 2a 00 7f ff ff ff 00 00 01 00 && return 1
    sg_sync "$1" || return 1
}

replicate() {
    ext4_workload "$device" >"$dir/workload.log" 2>&1 || { fail "the ext4 workload failed"; return; }
    drained_equal ext4
    raw_workload "$device" >"$dir/workload.log" 2>&1 || { fail "the raw workload failed"; return; }
    drained_equal raw
    [ "$case" = scsi ] || return 0
    passthrough_workload "$device" >"$dir/workload.log" 2>&1 || { fail "the passthrough workload failed"; return; }
    drained_equal passthrough
}

# drained_equal WORKLOAD: drains and compares; past the page cache of the disk's own node.
drained_equal() {
    if ! blkecho drain --group "$case" --timeout 120 >"$dir/drain.log" 2>&1; then
        fail "$1: drain failed"
        blkecho status --json
    elif ! alive $agent || ! alive $standby; then
        fail "$1: a process died"
    else
        blockdev --flushbufs "$device"
        if cmp "$device" "$dir/image" >"$dir/compare.log" 2>&1; then
            echo "PASS $case $1"
        else
            fail "$1: bytes differ: $(cat "$dir/compare.log")"
            blkecho status --json
        fi
    fi
}

scsi_disk() {
    modprobe sd_mod
    modprobe scsi_debug dev_size_mb=$((VOLUME_BYTES >> 20)) lbpu=1 lbpws=1 delay=0 || return 1
    wait_for 20 test -b /dev/sda
}

dm_linear() {
    modprobe dm_mod
    # From the middle of the disk, so that an address which was not translated is found out.
    echo "0 $((VOLUME_BYTES / 512)) linear /dev/vdb 4096" | dmsetup create --noudevrules --noudevsync linear
    dmsetup mknodes
    wait_for 10 test -b /dev/mapper/linear
}

# Without mdadm, by the kernel's own files; no superblock, and both halves are made alike first.
md_mirror() {
    dd if=/dev/zero of=/dev/sda bs=1M count=$((VOLUME_BYTES >> 20)) conv=fsync 2>/dev/null
    modprobe raid1 || return 1
    echo md9 >/sys/module/md_mod/parameters/new_array || return 1
    md=/sys/block/md9/md
    echo none >$md/metadata_version
    echo raid1 >$md/level
    echo 2 >$md/raid_disks
    slot=0
    for half in vdc sda; do
        cat /sys/block/$half/dev >$md/new_dev || return 1
        echo $((VOLUME_BYTES / 1024)) >$md/dev-$half/size
        echo $slot >$md/dev-$half/slot
        slot=$((slot + 1))
    done
    echo $((VOLUME_BYTES / 1024)) >$md/component_size
    echo none >$md/resync_start
    echo active >$md/array_state || return 1
    wait_for 10 test -b /dev/md9
}

prepare
blkecho doctor /dev/vda || echo "note: doctor ended with $?"
scsi_disk || echo "note: no scsi_debug"
one_case virtio /dev/vda
one_case scsi /dev/sda
dm_linear || echo "note: no dm linear"
one_case dm-linear /dev/mapper/linear
md_mirror || echo "note: no md raid1"
one_case md-raid1 /dev/md9
[ $failures = 0 ]
