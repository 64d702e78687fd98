# Our simulated devices on both sides, as devices of the guest's kernel: what every disk must do; all commands that change a
# disk and are in nobody else's, CDB for CDB; answers that reach the rows of the error consistency table; tapes; and captures
# of disk and tape.

# Commands past the file system, in three parts, after each of which the disks are compared.
reservation_commands() {
    sent sg_persist --out --register --param-sark=abc "$device" || return 1
    sent sg_persist --out --reserve --param-rk=abc --prout-type=1 "$device" || return 1
    sent sg_persist --out --release --param-rk=abc --prout-type=1 "$device" || return 1
    sent sg_persist --out --reserve --param-rk=abc --prout-type=5 "$device" || return 1
    # Another type of what is held already.
    refused sg_persist --out --reserve --param-rk=abc --prout-type=3 "$device" || return 1
    sent sg_persist --out --preempt --param-rk=abc --param-sark=abc --prout-type=3 "$device" || return 1
    refused sg_persist --out --release --param-rk=def --prout-type=3 "$device" || return 1
    sent sg_raw -s 512 -i /tmp/random "$device" 2a 00 00 00 00 64 00 00 01 00 || return 1
}
reservation_refused=2

whole_commands() {
    sent sg_persist --out --clear --param-rk=abc "$device" || return 1
    # ORWRITE, after which its blocks are read back; zeros around them are then mapped, so it comes before what unmaps
    # everything.
    before=$(resynced_bytes)
    sent sg_raw -s 1024 -i /tmp/pattern "$device" 8b 00 00 00 00 00 00 00 10 02 00 00 00 02 00 00 || return 1
    drained orwrite || return 1
    [ $(($(resynced_bytes) - before)) -le 1048576 ] || { echo "more was read back than ORWRITE touched"; return 1; }
    # A block that cannot be read any more, and is written again.
    sent sg_write_long --16 --wr_uncor --lba=4100 "$device" || return 1
    refused sg_raw -r 512 "$device" 28 00 00 00 10 04 00 00 01 00 || return 1
    sent sg_raw -s 4096 -i /tmp/random "$device" 2a 00 00 00 10 04 00 00 08 00 || return 1
    sent sg_sanitize --overwrite --pattern=/tmp/pattern --ipl=512 --quick --wait "$device" || return 1
    sent sg_sanitize --crypto --quick --wait "$device" || return 1
    sent sg_raw -s 1024 -i /tmp/random "$device" 8a 08 00 00 00 00 00 00 10 00 00 00 00 02 00 00 || return 1
    sent sg_sanitize --block --quick --wait "$device" || return 1
    sent sg_raw -s 1024 -i /tmp/random "$device" 8a 08 00 00 00 00 00 00 20 00 00 00 00 02 00 00 || return 1
    sent sg_format --format --quick --wait "$device" || return 1
}
whole_refused=0

resynced_bytes() { blkecho status --json | sed -n 's/.*"resynced_bytes": \([0-9]*\).*/\1/p' | head -n 1; }

block_commands() {
    sent sg_raw -s 4096 -i /tmp/random "$device" 2a 00 00 00 02 00 00 00 08 00 || return 1
    sent sg_write_verify --lba=700 --num=1 --ilen=512 --in=/tmp/random "$device" || return 1
    dd if="$device" of=/tmp/pair bs=512 count=1 skip=512 iflag=direct 2>/dev/null
    dd if=/tmp/random of=/tmp/pair bs=512 count=1 skip=9 seek=1 conv=notrunc 2>/dev/null
    sent sg_compare_and_write --in=/tmp/pair --lba=512 --num=1 --xferlen=1024 "$device" || return 1
    refused sg_compare_and_write --in=/tmp/pair --lba=512 --num=1 --xferlen=1024 "$device" || return 1
    # WRITE ATOMIC, WRITE SAME without data.
    sent sg_raw -s 4096 -i /tmp/random "$device" 9c 00 00 00 00 00 00 00 03 00 00 00 00 08 00 00 || return 1
    sent sg_raw "$device" 93 01 00 00 00 00 00 00 04 00 00 00 00 10 00 00 || return 1
    sent sg_write_same --16 --unmap --lba=1028 --num=4 --xferlen=512 --in=/dev/zero "$device" || return 1
    sent sg_unmap --lba=768 --num=4 --force "$device" || return 1
    sent sg_write_buffer --mode=2 --in=/tmp/pattern --length=64 "$device" || return 1
    # Write cache off.
    sent sg_wr_mode --page=8 --contents=08,12,00,00,00,00,00,00,00,00,00,00,80,00,00,00,00,00,00,00 "$device" || return 1
    sent sg_sync "$device" || return 1
}
block_refused=1

disks_alike_commands() {
    blockdev --flushbufs "$device"
    failed_before=$(failed_commands)
    trace_on
    "$1_commands" >"$dir/workload.log" 2>&1 || { fail "the commands of $1 failed"; trace_off; return; }
    drained "$1" || { trace_off; return; }
    trace_off
    same_commands "$1"
    alike "$1"
}

# As they are seen on the primary's disk.
usual_taken= usual_refused=
reservation_first="5f 00 00 00 00 00 00 00 18 00
5f 01 01 00 00 00 00 00 18 00
5f 02 01 00 00 00 00 00 18 00
5f 01 05 00 00 00 00 00 18 00
5f 01 03 00 00 00 00 00 18 00
5f 04 03 00 00 00 00 00 18 00
5f 02 03 00 00 00 00 00 18 00
2a 00 00 00 00 64 00 00 01 00"
whole_first="5f 03 00 00 00 00 00 00 18 00
8b 00 00 00 00 00 00 00 10 02 00 00 00 02 00 00
9f 51 00 00 00 00 00 00 10 04 00 00 00 00 00 00
2a 00 00 00 10 04 00 00 08 00
48 01 00 00 00 00 00 02 04 00
48 03 00 00 00 00 00 00 00 00
8a 08 00 00 00 00 00 00 10 00 00 00 00 02 00 00
48 02 00 00 00 00 00 00 00 00
8a 08 00 00 00 00 00 00 20 00 00 00 00 02 00 00
04 18 00 00 00 00"
block_first="2a 00 00 00 02 00 00 00 08 00
2e 00 00 00 02 bc 00 00 01 00
89 00 00 00 00 00 00 00 02 00 00 00 00 01 00 00
89 00 00 00 00 00 00 00 02 00 00 00 00 01 00 00
9c 00 00 00 00 00 00 00 03 00 00 00 00 08 00 00
93 01 00 00 00 00 00 00 04 00 00 00 00 10 00 00
93 08 00 00 00 00 00 00 04 04 00 00 00 04 00 00
42 00 00 00 00 00 00 00 18 00
3b 02 00 00 00 00 00 00 40 00
55 10 00 00 00 00 00 00 24 00"

# As they are seen on the standby's: a reservation comes as the state that the primary then has, which the comparison of the
# disks shows; after each SANITIZE and FORMAT UNIT content is sent again, in pieces that are not always the same.
reservation_kept="^2a"
reservation_second="2a 00 00 00 00 64 00 00 01 00"
whole_kept="^(48|04|8b|9f)"
whole_second="48 01 00 00 00 00 00 02 04 00
48 03 00 00 00 00 00 00 00 00
48 02 00 00 00 00 00 00 00 00
04 18 00 00 00 00"
block_kept="^(2e|9c|42|9f|8b|55)"
block_second="2e 00 00 00 02 bc 00 00 01 00
9c 00 00 00 00 00 00 00 03 00 00 00 00 08 00 00
42 00 00 00 00 00 00 00 18 00
55 10 00 00 00 00 00 00 1c 00"

# simulated_disks: two of them, the agent on one and the standby on the other, by its sg node.
simulated_disks() {
    begin_pair simulated-disk "$first" "$second" sg || { end_pair; return; }
    ext4_workload "$device" >"$dir/workload.log" 2>&1 || fail "the ext4 workload failed"
    drained ext4
    for part in reservation whole block; do disks_alike_commands $part; done
    end_pair
}

# on_simulated_disk: what every disk must do, with nothing left out.
on_simulated_disk() {
    export BLKECHO_SCSI_DISK=/dev/$(node_of scsi_generic "$first") BLKECHO_SCSI_FEATURES=simulated
    run_test conformance-simulated scsi_conformance_sg a_real_disk_conforms
}

# Two tapes, $first_tape and $second_tape.
simulated_tapes() {
    simulated tape-a 0 tape && first_tape=$address || return 1
    simulated tape-b 0 tape && second_tape=$address || return 1
    wait_for 20 test -c /dev/nst1
}

# error_rows: answers of scsi_debug and of simulated devices, and the rows of the error consistency table that they reach.
error_rows() {
    debug_disks add_host=2 per_host_store=1 dev_size_mb=16 lbpu=1 lbpws=1 lbpws10=1 || { no_devices error-rows; return; }
    export BLKECHO_SCSI_ERRORS=/dev/$first_sg,/dev/$second_sg
    export BLKECHO_SCSI_DISKS="$(sg_with_orders "$first_simulated" disk-a),$(sg_with_orders "$second_simulated" disk-b)"
    export BLKECHO_SCSI_TAPES="$(sg_with_orders "$first_tape" tape-a),$(sg_with_orders "$second_tape" tape-b)"
    run_test error-rows scsi_rows_sg injected_errors_reach_their_rows
    wait_for 10 no_debug_disks || echo "note: scsi_debug stays loaded"
}

# sg_with_orders SCSI_DEVICE NAME: its node, and where its program takes orders.
sg_with_orders() { echo "/dev/$(node_of scsi_generic "$1")=/run/$2.orders"; }

prepare
tr '\0-\377' '\125' </dev/zero | dd of=/tmp/pattern bs=512 count=8 2>/dev/null
case=devices dir=/tmp
mount -t debugfs debugfs /sys/kernel/debug
load_target && simulated disk-a $((32 << 20)) disk 512 65536 && first=$address first_simulated=$address &&
    simulated disk-b $((32 << 20)) disk 512 65536 && second=$address second_simulated=$address && simulated_tapes ||
    { dmesg | tail -n 30; fail "no simulated devices"; exit 1; }
one_tape tape
simulated_disks
on_simulated_disk
error_rows
captured_tape /dev/nst0 "$first_tape"
captured_disk "$first_simulated"
captured_errors
[ $failures = 0 ]
