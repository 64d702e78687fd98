# SCSI devices on both sides: tests of ours on scsi_debug through /dev/sgN, bsg and the disk; an agent on one disk and the
# standby on another through SG_IO, compared byte by byte, in provisioning and in mode pages; and what must be refused.
#
# Disks: scsi_debug's, loaded anew for each case, and the two disks and the CD-ROM of the virtio SCSI adapter.

# run_test NAME BINARY TEST: one ignored test of ours, on the devices that the environment names.
run_test() {
    case=$1
    dir=/tmp/$case
    mkdir -p "$dir"
    if "$2" --ignored --exact "$3" --nocapture >"$dir/test.log" 2>&1 && grep -q '^test result: ok. 1 passed' "$dir/test.log"; then
        grep '^row' "$dir/test.log"
        echo "PASS $case"
        echo "TEST $2::$3"
    else
        fail "$2 $3"
    fi
    rm -rf "$dir"
}

# node_of CLASS SCSI_DEVICE: name of its node, of block, scsi_generic or bsg.
node_of() { [ -z "$2" ] || ls "/sys/bus/scsi/devices/$2/$1" 2>/dev/null; }

# debug_disks PARAMETERS...: loads scsi_debug, and tells its devices one by one in $first and $second, its disks' names
# in $first_disk and $second_disk, those of sg in $first_sg and $second_sg.
debug_disks() {
    modprobe scsi_debug delay=0 "$@" || return 1
    names=
    wait_for 20 debug_disks_are_there || return 1
    first=$(echo "$names" | sed -n 1p)
    second=$(echo "$names" | sed -n 2p)
    first_disk=$(node_of block "$first")
    first_sg=$(node_of scsi_generic "$first")
    second_disk=$(node_of block "$second")
    second_sg=$(node_of scsi_generic "$second")
}

debug_disks_are_there() {
    names=$(grep -l scsi_debug /sys/bus/scsi/devices/*:*/model | xargs -n 1 dirname | xargs -n 1 basename)
    [ -n "$names" ] || return 1
    for name in $names; do
        [ -b "/dev/$(node_of block "$name")" ] && [ -c "/dev/$(node_of scsi_generic "$name")" ] || return 1
    done
}

no_debug_disks() { rmmod scsi_debug 2>/dev/null; }

# on_debug_disk SECTOR_SIZE: what every disk must do, and each of its nodes as target.
on_debug_disk() {
    if ! debug_disks sector_size="$1" dev_size_mb=16 lbpu=1 lbpws=1 lbpws10=1; then
        dir=/tmp
        case=debug-$1
        fail "no scsi_debug"
        return
    fi
    export BLKECHO_SCSI_DISK=/dev/$first_sg BLKECHO_SCSI_FEATURES=thin,scattered
    run_test "conformance-$1" scsi_conformance_sg a_real_disk_conforms
    export BLKECHO_SCSI_TARGETS=/dev/$first_sg,/dev/bsg/$first,sg:/dev/$first_disk
    run_test "target-$1" scsi_target_sg a_real_disk_is_a_target_by_each_of_its_nodes
    wait_for 10 no_debug_disks || echo "note: scsi_debug stays loaded"
}

prepare
modprobe -a sd_mod sg
mount -t debugfs debugfs /sys/kernel/debug
on_debug_disk 512
on_debug_disk 4096
[ $failures = 0 ]
