# Our simulated SCSI devices as devices of the guest's kernel: a program of ours (tcmu) executes what the kernel's target (LIO)
# gets from the kernel's SCSI stack over the loopback fabric. So there are disks with reservations, SANITIZE, FORMAT UNIT,
# ORWRITE and WRITE LONG, which scsi_debug and the emulator lack, and tapes that keep whole blocks.

target=/sys/kernel/config/target

load_target() {
    for module in target_core_user tcm_loop sd_mod sg st; do modprobe $module || return 1; done
    mount -t configfs configfs /sys/kernel/config 2>/dev/null
    mkdir -p $target/core/user_0 $target/loopback
}

# simulated NAME BYTES KIND...: a device; its SCSI address in $address, and orders for it are taken at /run/NAME.orders.
simulated() {
    store=$target/core/user_0/$1
    mkdir "$store" || return 1
    echo "dev_config=sim/$1,dev_size=$2,hw_block_size=512,hw_max_sectors=2048,max_data_area_mb=64" >"$store/control" || return 1
    echo 1 >"$store/enable" || return 1
    # Reservations are the device's own, not the target's.
    echo 0 >"$store/attrib/pgr_support" || return 1
    name=$1
    shift 2
    tcmu "$name" "/run/$name.orders" "$@" &
    wait_for 10 test -S "/run/$name.orders" || return 1
    fabric=$(fabric_of "$name")
    before=$(ls /sys/bus/scsi/devices)
    mkdir -p "$target/loopback/$fabric/tpgt_1" || return 1
    echo "$fabric" >"$target/loopback/$fabric/tpgt_1/nexus" || return 1
    mkdir "$target/loopback/$fabric/tpgt_1/lun/lun_0" || return 1
    ln -s "$store" "$target/loopback/$fabric/tpgt_1/lun/lun_0/device" || return 1
    wait_for 10 address_of_new || return 1
}

# A name of its own on the fabric.
fabric_of() { echo "naa.6$(echo "$1" | md5sum | cut -c1-15)"; }

address_of_new() {
    address=
    for device in /sys/bus/scsi/devices/*:*:*:*; do
        echo "$before" | grep -qx "$(basename "$device")" || address=$(basename "$device")
    done
    [ -n "$address" ]
}
