# The captures in captures/samples: one function for each file. They are left as an archive on the third disk.

out=/tmp/samples

# sample NAME WORKLOAD DEVICE OPTIONS...: captures the workload, which is given the device.
sample() {
    begin_case "sample-$1"
    workload=$2
    begin_capture "$out/$1.pcapng.zst" --zstd=19 "$3" $4 || return
    $workload "$3" >"$dir/workload.log" 2>&1 || fail "the workload failed"
    end_capture && echo "PASS $case: $(wc -c <"$file") bytes, $(grep '^commands' "$dir/info.log")"
    rm -rf "$dir"
}

# A text that compresses: the same words, numbered.
words() { seq "$1" | sed "s/.*/line & of a file that was written to be captured/"; }

# mkfs, mount, files, an overwrite in place, a deletion, umount.
filesystem() {
    mount -t "$1" "$2" /mnt || return 1
    mkdir /mnt/a /mnt/b
    words 100 >/mnt/a/small
    words 2000 >/mnt/b/large
    sync
    words 90 | dd of=/mnt/b/large bs=4k seek=3 conv=notrunc,fsync 2>/dev/null
    mv /mnt/a/small /mnt/b/moved
    rm /mnt/b/large
    umount /mnt
}

ext4_sample() { mkfs.ext4 -q -F -E nodiscard "$1" && filesystem ext4 "$1"; }

xfs_sample() { mkfs.xfs -q -f -K --unsupported "$1" && filesystem xfs "$1"; }

# Transactions of three rows, each of which is durable when the next one begins.
database_sample() {
    mkfs.ext4 -q -F -E nodiscard "$1" && mount -t ext4 "$1" /mnt || return 1
    sqlite3 /mnt/t.db "pragma journal_mode=delete; create table t(id integer primary key, batch int, words text)" || return 1
    batch=0
    while [ $batch -lt 20 ]; do
        sqlite3 /mnt/t.db "pragma synchronous=full; begin;
            insert into t(batch, words) values ($batch, 'one'), ($batch, 'two'), ($batch, 'three');
            update t set words = words || '!' where batch = $batch - 5; commit" || return 1
        batch=$((batch + 1))
    done
    umount /mnt
}

# Two archives with filemarks behind them, the second one written over another.
tape_sample() {
    mt-st -f "$1" rewind || return 1
    /usr/bin/tar -b 20 -C /tmp/words -cf "$1" first || return 1
    /usr/bin/tar -b 7 -C /tmp/words -cf "$1" second || return 1
    mt-st -f "$1" bsfm 2 || return 1
    mt-st -f "$1" fsf 1 || return 1
    /usr/bin/tar -b 7 -C /tmp/words -cf "$1" third || return 1
    mt-st -f "$1" weof 1 || return 1
    mt-st -f "$1" rewind || return 1
}

errors_sample() { failing_commands "$1"; }

prepare
mkdir -p $out /tmp/words
words 900 >/tmp/words/first
words 500 >/tmp/words/second
words 300 >/tmp/words/third
case=devices dir=/tmp
modprobe xfs
modprobe virtio_scsi
mount -t debugfs debugfs /sys/kernel/debug
load_target && simulated tape-a 0 tape && wait_for 20 test -c /dev/nst0 || { dmesg | tail -n 30; fail "no simulated tape"; }
sample ext4 ext4_sample /dev/vda
wait_for 20 test -b /dev/sda
sample xfs xfs_sample /dev/sda "--layer scsi"
sample database database_sample /dev/vdb
sample tape tape_sample /dev/nst0
if debug_disks dev_size_mb=16 lbpu=1 lbpws=1 lbpws10=1; then
    sample errors errors_sample "/dev/$first_disk" "--layer scsi"
else
    no_devices errors
fi
tar -C $out -cf /dev/vdc . || fail "the archive cannot be written"
sync
[ $failures = 0 ]
