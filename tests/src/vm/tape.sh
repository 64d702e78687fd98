# Tapes: the agent on one, the standby on another through SG_IO; written with tar and mt on the primary, read back from
# both, record for record and byte for byte.

tar_sizes="20 7 128"

# sg_of TAPE: the sg node of the drive behind /dev/nstN.
sg_of() { echo "/dev/$(ls "/sys/class/scsi_tape/$1/device/scsi_generic")"; }

# Files with filemarks between, spacing back, overwriting, reading on the way, and two filemarks at the end.
tape_workload() {
    mt-st -f "$1" rewind || return 1
    for size in $tar_sizes; do
        /usr/bin/tar -b "$size" -C /tmp/tree -cf "$1" "d$((size % 7))" || return 1
    done
    # Back over the last file, and another one in its place.
    mt-st -f "$1" bsfm 2 || return 1
    /usr/bin/tar -b 33 -C /tmp/tree -cf "$1" d3 || return 1
    mt-st -f "$1" rewind || return 1
    # Records of the first file, one by one, and on to the next.
    dd if="$1" of=/dev/null bs=64k count=3 2>/dev/null || return 1
    mt-st -f "$1" fsf 1 || return 1
    dd if="$1" of=/dev/null bs=64k 2>/dev/null || return 1
    mt-st -f "$1" eod || return 1
    /usr/bin/tar -b 11 -C /tmp/tree -cf "$1" d5 || return 1
    # Records of one length, and over some of them from the middle on.
    mt-st -f "$1" setblk 1024 || return 1
    dd if=/tmp/random of="$1" bs=32k count=6 2>/dev/null || return 1
    mt-st -f "$1" bsf 1 || return 1
    mt-st -f "$1" bsr 40 || return 1
    mt-st -f "$1" fsr 8 || return 1
    dd if=/tmp/random of="$1" bs=8k skip=99 count=5 2>/dev/null || return 1
    mt-st -f "$1" setblk 0 || return 1
    mt-st -f "$1" weof 2 || return 1
    mt-st -f "$1" rewind || return 1
}

# read_back TAPE FOLDER: each of its files, until there is no more.
read_back() {
    mkdir -p "$2"
    mt-st -f "$1" rewind || return 1
    file=0
    while [ $file -lt 9 ]; do
        # What comes in one read is one record.
        dd if="$1" of="$2/$file" bs=64k 2>"$2/$file.records" || break
        sed -i '/bytes/d' "$2/$file.records"
        [ -s "$2/$file" ] || break
        file=$((file + 1))
    done
    echo "$file" >"$2/files"
}

status_of() { blkecho status --json 2>/dev/null; }

# one_tape NAME: the two drives there are.
one_tape() {
    case=$1
    device=/dev/nst0
    dir=/tmp/$case
    mkdir -p "$dir"
    copy=$(sg_of nst1)
    mt-st -f $device status >"$dir/status.log" 2>&1
    port=$((port + 1))
    blkecho attach $device --group "$case" --to 127.0.0.1:$port --dir "$dir/agent" >"$dir/refused.log" 2>&1 &&
        fail "a tape was attached without a word on its copy"
    grep -q assume-identical "$dir/refused.log" || fail "attach does not say what a tape needs"
    blkecho standby --listen 127.0.0.1:$port --group "$case" --volume tape="$copy" --dir "$dir/standby" \
        --journal-size 128M >"$dir/standby.log" 2>&1 &
    standby=$!
    blkecho attach $device --name tape --assume-identical --group "$case" --to 127.0.0.1:$port --dir "$dir/agent" \
        --journal-size 128M --ring-size 16M >"$dir/agent.log" 2>&1 &
    agent=$!
    if wait_for 60 blkecho drain --group "$case" --timeout 60; then
        replicate_tape
    else
        fail "the first drain did not end"
        status_of
    fi
    stop $agent || fail "the agent did not stop"
    blkecho detach --group "$case" >"$dir/detach.log" 2>&1 || fail "detach failed"
    stop $standby || fail "the standby did not stop"
    compare_tapes
    rm -rf "$dir"
}

replicate_tape() {
    tape_workload $device >"$dir/workload.log" 2>&1 || { fail "the tape workload failed"; return; }
    drained tape || { tail -n 5 "$dir/agent.log"; return; }
    status_of | tr -d '\n ' | grep -o '"tape":{[^}]*}' | tee "$dir/tape.log"
    compared=$(grep -o '"compared":[0-9]*' "$dir/tape.log" | cut -d: -f2)
    unknown=$(grep -o '"unknown":[0-9]*' "$dir/tape.log" | cut -d: -f2)
    marks=$(grep -o '"marks":[0-9]*' "$dir/tape.log" | cut -d: -f2)
    if [ "${compared:-0}" -lt 20 ] || [ "${marks:-0}" -lt 3 ]; then
        fail "only ${compared:-0} positions were compared, at ${marks:-0} marks"
    else
        echo "PASS $case replicated: ${compared:-0} positions compared, $marks at marks, ${unknown:-0} not known"
    fi
}

# unpacks FILE FOLDER: whether this file of the standby's tape is an archive with this folder of what was packed.
unpacks() {
    rm -rf "$dir/unpacked"
    mkdir "$dir/unpacked"
    /usr/bin/tar -C "$dir/unpacked" -xf "$dir/copy/$1" >"$dir/unpack.log" 2>&1 &&
        diff -rq "$dir/unpacked/$2" "/tmp/tree/$2" >>"$dir/unpack.log"
}

compare_tapes() {
    read_back /dev/nst0 "$dir/primary" && read_back /dev/nst1 "$dir/copy" || { fail "reading back failed"; return; }
    if [ "$(cat "$dir/primary/files")" -lt 4 ]; then
        fail "only $(cat "$dir/primary/files") files on the primary's tape"
    elif ! diff -rq "$dir/primary" "$dir/copy" >"$dir/diff.log" 2>&1; then
        fail "the tapes differ"
    elif ! { unpacks 0 d6 && unpacks 1 d0 && unpacks 2 d3 && unpacks 3 d5; }; then
        fail "the standby's archives do not hold what was packed"
    else
        echo "PASS $case reads the same: $(cat "$dir/primary/files") files"
    fi
}
