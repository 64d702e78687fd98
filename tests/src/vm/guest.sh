# Every kind of disk: a standby on an image file, the agent on the disk, a file system workload, a drain, and a
# comparison of every byte.
#
# Disks: /dev/vda (virtio), /dev/vdb and /dev/vdc (for dm and md), and scsi_debug's, which is loaded here.

# one_case NAME DEVICE
one_case() {
    case=$1
    device=$2
    dir=/tmp/$case
    mkdir -p "$dir"
    [ -b "$device" ] || { : >"$dir/none.log"; fail "there is no $device"; return; }
    truncate -s "$(blockdev --getsize64 "$device")" "$dir/image"
    copy=$dir/image
    # Content from before the attach must arrive too.
    dd if=/tmp/random of="$device" bs=64k count=16 seek=3 conv=fsync 2>/dev/null
    start_pair "$copy" auto && replicate
    end_pair
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

# The bytes at a sector of a disk or image: sectors FILE FIRST COUNT.
sectors() { dd if="$1" bs=512 skip="$2" count="$3" 2>/dev/null | md5sum; }

# filter_case DISK: named by its SCSI address, and of all commands one operation code is carried. The rest is kept out by
# number, what is read is counted by name, and the standby is never called a copy.
filter_case() {
    case=filter
    device=/dev/$1
    dir=/tmp/$case
    mkdir -p "$dir"
    port=$((port + 1))
    address=$(basename "$(readlink -f "/sys/block/$1/device")")
    truncate -s "$(blockdev --getsize64 "$device")" "$dir/image"
    set -- "$address" --name disk --group "$case" --to 127.0.0.1:$port --dir "$dir/agent" --opcode "WRITE(16)"
    blkecho attach "$@" >"$dir/refused.log" 2>&1 && fail "a filter that drops changes was taken without --partial"
    grep -q "drops changes" "$dir/refused.log" || fail "the refusal does not say why"
    blkecho standby --listen 127.0.0.1:$port --group "$case" --volume disk="$dir/image" --dir "$dir/standby" \
        --journal-size 128M >"$dir/standby.log" 2>&1 &
    standby=$!
    blkecho attach "$@" --partial --layer scsi --journal-size 128M --ring-size 16M >"$dir/agent.log" 2>&1 &
    agent=$!
    if wait_for 60 blkecho drain --group "$case" --timeout 60; then
        filtered_workload >"$dir/workload.log" 2>&1 || fail "the workload failed"
        drained filter && check_filtered
    else
        fail "the first drain did not end"
    fi
    end_pair
}

filtered_workload() {
    sg_raw -s 1024 -i /tmp/random "$device" 8a 00 00 00 00 00 00 00 20 00 00 00 00 02 00 00 || return 1
    sg_raw -s 512 -i /tmp/random "$device" 2a 00 00 00 00 64 00 00 01 00 || return 1
    dd if=/tmp/random of="$device" bs=4k count=4 seek=100 oflag=direct conv=notrunc || return 1
    sg_raw -r 36 "$device" 12 00 00 00 24 00
}

check_filtered() {
    blkecho status --json >"$dir/status.log"
    for word in '"state": "Partial"' '"peer": "Inconsistent"' '"filter": "--opcode 0x8a"' '"operation": [1-9]' '"INQUIRY": [1-9]'; do
        grep -q "$word" "$dir/status.log" || { log_lines=120 fail "status does not say $word"; return; }
    done
    [ "$(sectors "$dir/image" 8192 2)" = "$(sectors /tmp/random 0 2)" ] || { fail "the WRITE(16) did not arrive"; return; }
    for place in "100 1" "800 32"; do
        # shellcheck disable=SC2086
        [ "$(sectors "$dir/image" $place)" = "$(sectors /dev/zero $place)" ] || { fail "a WRITE(10) arrived"; return; }
    done
    echo "PASS $case opcode"
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
blktrace_case /dev/vda
log_writes_case /dev/vdb /dev/vdc
one_case scsi /dev/sda
filter_case sda
dm_linear || echo "note: no dm linear"
one_case dm-linear /dev/mapper/linear
md_mirror || echo "note: no md raid1"
one_case md-raid1 /dev/md9
[ $failures = 0 ]
