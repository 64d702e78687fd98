# SCSI devices on both sides: tests of ours on scsi_debug through /dev/sgN, bsg and the disk; an agent on one disk and the
# standby on another through SG_IO, compared byte by byte, in provisioning and in mode pages; and what must be refused.
#
# Disks: scsi_debug's, loaded anew for each case, and the two disks and the CD-ROM of the virtio SCSI adapter.

# on_debug_disk SECTOR_SIZE: what every disk must do, and each of its nodes as target.
on_debug_disk() {
    if ! debug_disks sector_size="$1" dev_size_mb=16 lbpu=1 lbpws=1 lbpws10=1; then
        no_devices "debug-$1"
        return
    fi
    export BLKECHO_SCSI_DISK=/dev/$first_sg BLKECHO_SCSI_FEATURES=thin,scattered,luns
    run_test "conformance-$1" scsi_conformance_sg a_real_disk_conforms
    export BLKECHO_SCSI_TARGETS=/dev/$first_sg,/dev/bsg/$first,sg:/dev/$first_disk
    run_test "target-$1" scsi_target_sg a_real_disk_is_a_target_by_each_of_its_nodes
    wait_for 10 no_debug_disks || echo "note: scsi_debug stays loaded"
}

# Commands past the file system that every one of these disks takes; blocks of $1 bytes on the disk $2.
usual_commands() {
    sent sg_raw -s "$1" -i /tmp/random "$2" 2a 00 00 00 00 64 00 00 01 00 || return 1
    sent sg_raw -s $((2 * $1)) -i /tmp/random "$2" 8a 08 00 00 00 00 00 00 10 00 00 00 00 02 00 00 || return 1
    sent sg_raw -s $((3 * $1)) -i /tmp/random "$2" aa 00 00 00 02 10 00 00 00 03 00 00 || return 1
    sent sg_write_same --in=/tmp/random --xferlen="$1" --lba=200 --num=16 "$2" || return 1
    sent sg_write_same --16 --in=/tmp/random --xferlen="$1" --lba=240 --num=9 "$2" || return 1
    sent sg_write_same --16 --unmap --lba=400 --num=16 --xferlen="$1" --in=/dev/zero "$2" || return 1
    sent sg_unmap --lba=304 --num=8 --force "$2" || return 1
    sent sg_sync "$2" || return 1
    # Beyond the end; then what none of them has.
    refused sg_raw -s "$1" -i /tmp/random "$2" 2a 00 7f ff ff ff 00 00 01 00 || return 1
    refused sg_persist --out --register --param-sark=abc "$2" || return 1
    refused sg_sanitize --block --quick --zero "$2" || return 1
}

# As they are seen on the primary's disk: those that it takes, and those that it refuses.
usual_taken="2a 00 00 00 00 64 00 00 01 00
8a 08 00 00 00 00 00 00 10 00 00 00 00 02 00 00
aa 00 00 00 02 10 00 00 00 03 00 00
41 00 00 00 00 c8 00 00 10 00
93 00 00 00 00 00 00 00 00 f0 00 00 00 09 00 00
93 08 00 00 00 00 00 00 01 90 00 00 00 10 00 00
42 00 00 00 00 00 00 00 18 00"
usual_refused="2a 00 7f ff ff ff 00 00 01 00
5f 00 00 00 00 00 00 00 18 00
48 82 00 00 00 00 00 00 00 00"

# What scsi_debug takes or refuses beyond these.
debug_commands() {
    dd if="$2" of=/tmp/pair bs="$1" count=1 skip=512 2>/dev/null
    dd if=/tmp/random of=/tmp/pair bs="$1" count=1 skip=9 seek=1 conv=notrunc 2>/dev/null
    sent sg_compare_and_write --in=/tmp/pair --lba=512 --num=1 --xferlen=$((2 * $1)) "$2" || return 1
    # Miscompare.
    refused sg_compare_and_write --in=/tmp/pair --lba=512 --num=1 --xferlen=$((2 * $1)) "$2" || return 1
    refused sg_raw -s "$1" -i /tmp/random "$2" 8b 00 00 00 00 00 00 00 00 40 00 00 00 01 00 00 || return 1
    refused sg_write_verify --lba=700 --num=1 --ilen="$1" --in=/tmp/random "$2" || return 1
    # Write cache off.
    sent sg_wr_mode --page=8 --contents=08,12,10,00,ff,ff,00,00,ff,ff,ff,ff,80,14,00,00,00,00,00,00 "$2" || return 1
}

debug_first="89 00 00 00 00 00 00 00 02 00 00 00 00 01 00 00
89 00 00 00 00 00 00 00 02 00 00 00 00 01 00 00
8b 00 00 00 00 00 00 00 00 40 00 00 00 01 00 00
2e 00 00 00 02 bc 00 00 01 00
55 10 00 00 00 00 00 00 24 00"
# COMPARE AND WRITE comes as the write that it was, mode pages without the block descriptor in front of them.
debug_second="$usual_taken
2a 00 00 00 02 00 00 00 01 00
55 10 00 00 00 00 00 00 1c 00"
debug_refused=6

# What qemu's disks take beyond these.
virtio_commands() { sent sg_write_verify --lba=700 --num=1 --ilen="$1" --in=/tmp/random "$2"; }

virtio_first="2e 00 00 00 02 bc 00 00 01 00"
# Without FUA, which these disks do not take (a flush follows). Neither disk promises zeros after UNMAP, so it is repeated as
# it is.
virtio_second="2a 00 00 00 00 64 00 00 01 00
8a 00 00 00 00 00 00 00 10 00 00 00 00 02 00 00
aa 00 00 00 02 10 00 00 00 03 00 00
41 00 00 00 00 c8 00 00 10 00
93 00 00 00 00 00 00 00 00 f0 00 00 00 09 00 00
93 08 00 00 00 00 00 00 01 90 00 00 00 10 00 00
42 00 00 00 00 00 00 00 18 00
2e 00 00 00 02 bc 00 00 01 00"
virtio_refused=3

# pairing NAME FIRST SECOND NODE KIND: an agent on the disk of the SCSI device FIRST, the standby on that of SECOND by its
# NODE (sg, bsg or disk); KIND tells the commands beyond the usual ones.
pairing() {
    begin_pair "$@" && replicate_scsi "$5"
    end_pair
}

replicate_scsi() {
    for workload in $workloads; do
        ${workload}_workload "$device" >"$dir/workload.log" 2>&1 || { fail "the $workload workload failed"; return; }
        alike "$workload"
    done
    block=$(blockdev --getss "$device")
    blockdev --flushbufs "$device"
    failed_before=$(failed_commands)
    trace_on
    usual_commands "$block" "$device" >"$dir/workload.log" 2>&1 && "$1_commands" "$block" "$device" >>"$dir/workload.log" 2>&1 ||
        { fail "the passthrough workload failed"; trace_off; return; }
    drained commands || { trace_off; return; }
    trace_off
    same_commands "$1"
    alike commands
}

# vanishing: the standby's disk is removed while it is written; replay stops by name, and goes on where it was when the
# disk is back and the standby is started again.
vanishing() {
    begin_pair vanishing "$first" "$second" sg && vanish
    end_pair
}

vanish() {
    dd if=/tmp/random of="$device" bs=1M count=4 seek=8 oflag=direct 2>/dev/null
    (
        while [ -e "$dir/standby" ]; do
            dd if=/tmp/random of="$device" bs=64k count=32 seek=300 oflag=direct conv=notrunc 2>/dev/null
            [ ! -e "$dir/enough" ] || exit 0
        done
    ) &
    writer=$!
    sleep 1
    echo 1 >"/sys/bus/scsi/devices/$second/delete"
    wait_for 60 told "device gone" || fail "nobody says that the device is gone"
    : >"$dir/enough"
    wait_for 60 gone $writer || fail "the writer does not end"
    stop $standby || { fail "the standby did not stop"; return; }
    echo "- - -" >"/sys/class/scsi_host/host${second%%:*}/scan"
    wait_for 20 has_nodes "$second" || { fail "the disk does not come back"; return; }
    start_standby "/dev/$(node_of scsi_generic "$second")"
    copy=/dev/$(node_of block "$second")
    blockdev --flushbufs "$copy"
    drained_equal "after the disk came back"
}

# told WORDS: whether status or log of the standby says so.
told() { { blkecho status --json; cat "$dir/standby.log"; } 2>&1 | grep -q "$1"; }

# refuses NAME WORDS VOLUME [PREFIX...]: a standby on VOLUME ends by itself, soon, and says WORDS. It is given $word too.
word=--overwrite
refuses() {
    case=refused-$1
    dir=/tmp/$case
    words=$2
    volume=$3
    shift 3
    mkdir -p "$dir"
    chmod 777 "$dir"
    timeout 60 "$@" blkecho standby --listen 127.0.0.1:9399 --group "$case" --volume disk="$volume" $word \
        --dir "$dir/standby" --journal-size 128M --run-dir "$dir/run" >"$dir/standby.log" 2>&1
    ended=$?
    if [ $ended = 0 ] || [ $ended = 143 ]; then
        fail "it was not refused"
    elif grep -q "$words" "$dir/standby.log"; then
        echo "PASS $case: $(grep "$words" "$dir/standby.log" | tail -n 1)"
    else
        fail "it does not say '$words'"
    fi
    rm -rf "$dir"
}

# in_use WORDS NAME: the second disk by each of its nodes.
in_use() {
    refuses "$2-sg" "$1" "/dev/$second_sg"
    refuses "$2-bsg" "$1" "/dev/bsg/$second"
    refuses "$2-disk" "$1" "sg:/dev/$second_disk"
}

refusals() {
    mkfs.ext4 -q -F "/dev/$second_disk"
    word=
    in_use "holds an ext2/3/4 file system.*--overwrite" precious
    word=--overwrite
    mount -t ext4 "/dev/$second_disk" /mnt
    in_use "is mounted on" mounted
    umount /mnt
    modprobe dm_mod
    echo "0 8192 linear /dev/$second_disk 0" | dmsetup create --noudevrules --noudevsync holder
    in_use "is built on it" held
    dmsetup remove --noudevrules --noudevsync holder
    dd if=/dev/zero of="/dev/$second_disk" bs=1M count=1 conv=fsync 2>/dev/null
    refuses not-permitted "no permission to" "/dev/$second_sg" \
        /usr/bin/setpriv --reuid 65534 --regid 65534 --clear-groups
}

# A device that is neither disk nor tape: scsi_debug as a processor.
processor() {
    modprobe scsi_debug delay=0 ptype=3 || { no_devices processor; return; }
    wait_for 20 processor_is_there || { no_devices processor; return; }
    refuses processor "name a disk or a tape" "/dev/$(node_of scsi_generic "$(scsi_devices scsi_debug)")"
    wait_for 10 no_debug_disks
}

processor_is_there() { [ -c "/dev/$(node_of scsi_generic "$(scsi_devices scsi_debug)")" ]; }

prepare
for module in sd_mod sg sr_mod xfs; do modprobe $module; done
mount -t debugfs debugfs /sys/kernel/debug
on_debug_disk 512
on_debug_disk 4096
pair_of_disks="add_host=2 per_host_store=1 lbpu=1 lbpws=1 lbpws10=1"
workloads="ext4 xfs"
debug_disks $pair_of_disks dev_size_mb=64
pairing debug-512 "$first" "$second" disk debug
refusals
wait_for 10 no_debug_disks
workloads="ext4"
debug_disks $pair_of_disks dev_size_mb=32 sector_size=4096
pairing debug-4096 "$first" "$second" sg debug
vanishing
wait_for 10 no_debug_disks
processor
modprobe virtio_scsi
wait_for 20 test -b /dev/sdb
pairing virtio-scsi "$(scsi_devices "QEMU HARDDISK" | sed -n 1p)" "$(scsi_devices "QEMU HARDDISK" | sed -n 2p)" bsg virtio
refuses cd-rom "is read-only" "/dev/$(node_of scsi_generic "$(scsi_devices "QEMU CD-ROM")")"
[ $failures = 0 ]
