# Captures of SCSI devices: everything that went to a disk or a tape is in the file, CDB for CDB, and what failed with its
# sense.

# begin_capture FILE DEVICE OPTIONS...
begin_capture() {
    file=$1
    shift
    blkecho capture "$@" -o "$file" >"$dir/capture.out" 2>"$dir/capture.log" &
    capture=$!
    wait_for 60 grep -q "capturing " "$dir/capture.log" || { fail "the capture did not begin"; return 1; }
}

# end_capture: in order; what is in the file then goes to lines.log, shown.json and info.log.
end_capture() {
    stop $capture || { fail "the capture did not stop"; return 1; }
    wait $capture
    ended=$?
    blkecho show "$file" >"$dir/lines.log" 2>&1 && blkecho show --json "$file" >"$dir/shown.json" &&
        blkecho info "$file" >"$dir/info.log" || { fail "the capture cannot be read"; return 1; }
    if [ $ended != 0 ] || ! grep -q '^lost *nothing' "$dir/info.log" || ! grep -q '^ended' "$dir/info.log"; then
        fail "the capture ended with $ended"
        return 1
    fi
}

# captured: CDBs that change something, as seen on their device, in order.
captured() {
    sed -n 's/.*"cdb":"\([0-9a-f]*\)".*"seen":true.*/\1/p' "$dir/shown.json" | sed 's/../& /g; s/ $//' | grep -E "$changes"
}

# all_captured SCSI_DEVICE: what was dispatched is in the file.
all_captured() {
    traced "$1" >"$dir/dispatched.cdbs"
    captured >"$dir/captured.cdbs"
    if [ -s "$dir/captured.cdbs" ] && diff "$dir/dispatched.cdbs" "$dir/captured.cdbs" >"$dir/diff.log"; then
        echo "PASS $case CDB for CDB: $(wc -l <"$dir/captured.cdbs")"
    else
        fail "what was captured is not what was dispatched"
    fi
}

# says NUMBER WORDS: whether so many lines of what is shown have these words, with sense data in the words of the standards.
says() {
    found=$(grep -c -- "$2" "$dir/lines.log")
    [ "$found" = "$1" ] && echo "PASS $case $found × $2" || fail "$found lines say '$2', not $1"
}

# Commands that this disk of scsi_debug refuses, one that it takes with a warning, and one that it aborts.
failing_commands() {
    refused sg_raw -s 512 -i /tmp/random "$1" 2a 00 7f ff ff ff 00 00 01 00 || return 1
    refused sg_sanitize --block --quick --zero "$1" || return 1
    dd if=/tmp/random of=/tmp/pair bs=512 count=2 2>/dev/null
    refused sg_compare_and_write --in=/tmp/pair --lba=512 --num=1 --xferlen=1024 "$1" || return 1
    sent sg_raw -s 1024 -i /tmp/random "$1" 8a 08 00 00 00 00 00 00 10 00 00 00 00 02 00 00 || return 1
    # Every command that moves data now ends in a recovered error, then by a check of its data that fails.
    debug=/sys/bus/pseudo/drivers/scsi_debug
    echo 8 >$debug/opts && echo 1 >$debug/every_nth
    sg_raw -s 512 -i /tmp/random "$1" 2a 00 00 00 00 64 00 00 01 00
    echo 32 >$debug/opts && echo 1 >$debug/every_nth
    refused sg_raw -s 512 -i /tmp/random "$1" 2a 00 00 00 00 65 00 00 01 00 || return 1
    echo 0 >$debug/opts && echo 0 >$debug/every_nth
    sent sg_unmap --lba=304 --num=8 --force "$1" || return 1
    sent sg_sync "$1" || return 1
}

# begin_case NAME
begin_case() {
    case=$1
    dir=/tmp/$case
    mkdir -p "$dir"
}

# captured_errors: a disk of scsi_debug.
captured_errors() {
    begin_case captured-errors
    debug_disks dev_size_mb=16 lbpu=1 lbpws=1 lbpws10=1 || { no_devices captured-errors; return; }
    begin_capture "$dir/errors.pcapng" "/dev/$first_disk" --layer scsi || return
    trace_on
    failing_commands "/dev/$first_sg" >"$dir/workload.log" 2>&1 || fail "the commands failed"
    trace_off
    end_capture || return
    all_captured "$first"
    says 1 "ILLEGAL REQUEST 21h/00h"
    says 1 "ILLEGAL REQUEST 20h/00h"
    says 1 "MISCOMPARE 1Dh/00h"
    says 1 "RECOVERED ERROR"
    says 1 "ABORTED COMMAND"
    rm -rf "$dir"
    wait_for 10 no_debug_disks || echo "note: scsi_debug stays loaded"
}

# captured_disk SCSI_DEVICE: a file system, and commands past it, on a simulated disk.
captured_disk() {
    begin_case captured-disk
    device=/dev/$(node_of block "$1")
    begin_capture "$dir/disk.pcapng" "$device" --layer scsi --zstd || return
    ext4_workload "$device" >"$dir/workload.log" 2>&1 || fail "the ext4 workload failed"
    end_capture || return
    grep -q '^ *scsi .*\|^ *write ' "$dir/info.log" && echo "PASS $case ext4: $(grep '^commands' "$dir/info.log")" || fail "no writes"
    begin_capture "$dir/commands.pcapng" "$device" --layer scsi || return
    trace_on
    block_commands >"$dir/workload.log" 2>&1 || fail "the commands failed"
    trace_off
    end_capture || return
    all_captured "$1"
    says 1 "MISCOMPARE 1Dh/00h"
    rm -rf "$dir"
}

# captured_tape TAPE SCSI_DEVICE: written with tar and mt, beside which what only moves the tape is captured too.
captured_tape() {
    begin_case captured-tape
    begin_capture "$dir/tape.pcapng" "$1" || return
    trace_on
    tape_workload "$1" >"$dir/workload.log" 2>&1 || fail "the tape workload failed"
    trace_off
    end_capture || return
    all_captured "$2"
    marks=$(grep -c "WRITE FILEMARKS" "$dir/lines.log")
    [ "$marks" -ge 5 ] && echo "PASS $case $marks filemarks" || fail "only $marks filemarks"
    rm -rf "$dir"
}
