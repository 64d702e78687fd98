# Traces of the kernel's own, made into captures and back: what blktrace recorded of a disk, and the log that the
# device-mapper target log-writes kept of a file system.

# What a trace says of completed writes and discards: first sector and bytes, in order of place. traced FOLDER NAME
traced() { (cd "$1" && blkparse -q -i "$2" -f '%a %d %S %N\n') | awk '$1 == "C" && $2 ~ /[WD]/ && $4 > 0 { print $3, $4 }' | sort; }

# The same of a capture, by way of its table. captured FILE
captured() {
    blkecho convert "$1" --to csv -o "$1.csv" --force 2>/dev/null
    awk -F, 'NR > 1 && $4 > 0 { printf "%d %d\n", $3 / 512, $4 }' "$1.csv" | sort
}

blktrace_case() {
    case=blktrace
    device=$1
    dir=/tmp/$case
    mkdir -p "$dir" && mount -t debugfs none /sys/kernel/debug
    blktrace -d "$device" -D "$dir" -o t >"$dir/blktrace.log" 2>&1 &
    tracer=$!
    wait_for 20 test -s /sys/kernel/debug/block/"$(basename "$device")"/dropped
    fio --name=t --filename="$device" --direct=1 --rw=randwrite --bsrange=512-16k --size=16m --io_size=1m --fsync=8 \
        --ioengine=libaio --iodepth=4 --output=/dev/null
    dd if="$device" of=/dev/null bs=64k count=4 iflag=direct 2>/dev/null
    kill -INT $tracer
    wait $tracer
    (cd "$dir" && blkparse -q -i t -d together -O) >"$dir/blkparse.log" 2>&1
    blkecho convert "$dir/together" --from blktrace -o "$dir/t.pcapng" >"$dir/import.log" 2>&1 || { fail "no import"; return; }
    blkecho convert "$dir/t.pcapng" --to blktrace -o "$dir/back.blktrace.0" >"$dir/export.log" 2>&1 || { fail "no export"; return; }
    traced "$dir" t >"$dir/theirs.txt"
    captured "$dir/t.pcapng" >"$dir/ours.txt"
    traced "$dir" back >"$dir/back.txt"
    echo "note: $case: $(wc -l <"$dir/theirs.txt") commands"
    [ "$(wc -l <"$dir/theirs.txt")" -gt 20 ] || { fail "nothing was traced"; return; }
    cmp "$dir/theirs.txt" "$dir/ours.txt" >"$dir/cmp.log" 2>&1 || { fail "the capture differs from the trace"; return; }
    cmp "$dir/theirs.txt" "$dir/back.txt" >"$dir/cmp.log" 2>&1 || { fail "what came back differs"; return; }
    echo "PASS $case import"
}

# log_writes_case DISK LOG: a file system of 16 MiB on the first, its log on the second.
log_writes_case() {
    case=dm-log-writes
    dir=/tmp/$case
    mkdir -p "$dir"
    modprobe dm_log_writes
    dd if=/dev/zero of="$1" bs=1M count=16 conv=fsync 2>/dev/null
    echo "0 32768 log-writes $1 $2" | dmsetup create --noudevrules --noudevsync logged 2>"$dir/dmsetup.log" ||
        { fail "no log-writes target"; return; }
    dmsetup mknodes
    mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 /dev/mapper/logged >"$dir/mkfs.log" 2>&1
    mount -t ext4 /dev/mapper/logged /mnt || { fail "no mount"; return; }
    dd if=/tmp/random of=/mnt/one bs=4k count=300 conv=fsync 2>/dev/null
    sync
    dmsetup message logged 0 mark halfway
    dd if=/tmp/random of=/mnt/two bs=4k count=200 skip=900 conv=fsync 2>/dev/null
    rm /mnt/one
    umount /mnt
    dmsetup remove --noudevrules --noudevsync logged
    dd if="$1" of="$dir/end" bs=1M count=16 iflag=direct 2>/dev/null
    truncate -s 16M "$dir/base"
    blkecho convert "$2" --from dm-log-writes -o "$dir/log.pcapng" >"$dir/import.log" 2>&1 || { fail "no import"; return; }
    # At the mark: what a flush had covered by then.
    for at in halfway end; do
        blkecho rebuild "$dir/log.pcapng" --base "$dir/base" --at "$at" -o "$dir/image" --force >"$dir/rebuild.log" 2>&1 ||
            { fail "no image of $at"; return; }
    done
    cmp "$dir/image" "$dir/end" >"$dir/cmp.log" 2>&1 || { fail "the image of the end differs"; return; }
    echo "PASS $case import"
}

