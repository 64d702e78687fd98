# SCSI devices in pairs: their nodes, an agent on one disk and the standby on another through SG_IO, what went to the two
# CDB for CDB, and whether they are alike.

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
    names=$(scsi_devices scsi_debug)
    [ -n "$names" ] || return 1
    for name in $names; do
        [ -b "/dev/$(node_of block "$name")" ] && [ -c "/dev/$(node_of scsi_generic "$name")" ] || return 1
    done
}

no_debug_disks() { rmmod scsi_debug 2>/dev/null; }

no_devices() {
    case=$1
    dir=/tmp
    fail "no devices"
}

# What was dispatched to SCSI devices is traced, to be compared CDB for CDB.
traces=/sys/kernel/tracing

trace_on() {
    echo >$traces/trace
    echo 1 >$traces/events/scsi/scsi_dispatch_cmd_start/enable
}

trace_off() { echo 0 >$traces/events/scsi/scsi_dispatch_cmd_start/enable; }

# CDBs that change something.
changes='^(0a|2a|aa|8a|41|93|42|2e|8e|ae|89|8b|9c|9f|3f|15|55|5f|48|04|3b|7f) '

# traced SCSI_DEVICE: CDBs in hexadecimal that change something, in order, as they went to this device.
traced() {
    place=$(echo "$1" | sed 's/\(.*\):\(.*\):\(.*\):\(.*\)/host_no=\1 channel=\2 id=\3 lun=\4/')
    sed -n "s/.*$place .* raw=\([0-9a-f ]*\)).*/\1/p" $traces/trace |
        grep -E "$changes"
}

# alike WORKLOAD: drains and compares the two disks, in bytes, provisioning, mode pages and reservations.
alike() {
    drained "$1" || return
    if scsi_alike_sg --ignored --exact two_disks_are_alike --nocapture >"$dir/alike.log" 2>&1 &&
        grep -q '^test result: ok. 1 passed' "$dir/alike.log"; then
        grep -E '^(bytes|provisioning|reservations):' "$dir/alike.log"
        echo "PASS $case $1"
        echo "TEST scsi_alike_sg::two_disks_are_alike"
    else
        fail "$1: the disks differ"
        blkecho status --json
    fi
}

# sent COMMAND...: one that this device must take.
sent() {
    "$@" && return
    echo "not taken: $*"
    return 1
}

# refused COMMAND...: one that this device must refuse; nothing may come of it on the standby.
refused() {
    "$@" || return 0
    echo "taken, which should be refused: $*"
    return 1
}

begin_pair() {
    case=$1
    dir=/tmp/$case
    mkdir -p "$dir"
    first=$2 second=$3
    disk=/dev/$(node_of block "$second")
    device=/dev/$(node_of block "$first")
    export BLKECHO_SCSI_PAIR=/dev/$(node_of scsi_generic "$first"),/dev/$(node_of scsi_generic "$second")
    case $4 in
    sg) copy=/dev/$(node_of scsi_generic "$second") ;;
    bsg) copy=/dev/bsg/$second ;;
    disk) copy=sg:$disk ;;
    esac
    [ -b "$device" ] && [ -b "$disk" ] || { : >"$dir/none.log"; fail "no devices"; return 1; }
    # Content from before the attach. What is copied at once is mapped as a whole, so it fills whole pieces of a copy.
    dd if=/tmp/random of="$device" bs=1M count=1 seek=3 conv=fsync 2>/dev/null
    start_pair "$copy" scsi
}

failed_commands() { blkecho status --json | sed -n 's/.*"failed_commands": \([0-9]*\).*/\1/p'; }

# same_commands KIND: what went to the two disks, CDB for CDB, and what the agent saw fail. Of the second disk only those
# count that begin as $KIND_kept says, where content that is sent again comes between them.
same_commands() {
    traced "$first" >"$dir/first.cdbs"
    eval "kept=\$$1_kept"
    traced "$second" | grep -E "${kept:-.}" >"$dir/second.cdbs"
    eval "more_first=\$$1_first all_second=\$$1_second expected_failures=\$$1_refused"
    printf '%s\n' "$usual_taken" "$usual_refused" "$more_first" | sed '/^$/d' >"$dir/first.expected"
    printf '%s\n' "$all_second" >"$dir/second.expected"
    others=
    for disk_of in first second; do
        diff "$dir/$disk_of.expected" "$dir/$disk_of.cdbs" >"$dir/$disk_of.log" || others="$others $disk_of"
    done
    [ -z "$others" ] || { fail "CDBs of:$others"; return; }
    failures_seen=$(($(failed_commands) - failed_before))
    if [ "$failures_seen" = "$expected_failures" ]; then
        echo "PASS $case CDB for CDB: $(wc -l <"$dir/first.cdbs") on the primary, $(wc -l <"$dir/second.cdbs") on the standby"
    else
        fail "the agent saw $failures_seen commands fail, not $expected_failures"
    fi
}

# scsi_devices MODEL: devices of this model, one by one.
scsi_devices() { grep -l "$1" /sys/bus/scsi/devices/*:*/model | xargs -n 1 dirname | xargs -n 1 basename; }

has_nodes() { [ -b "/dev/$(node_of block "$1")" ] && [ -c "/dev/$(node_of scsi_generic "$1")" ]; }
