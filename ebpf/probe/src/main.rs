//! The probe: filter, copy, number, set bits. No policy.
//!
//! It runs in the kernel of the observed host, on the path of every block request, so its first rule is to leave
//! quickly, and its second to leave nothing unsaid: the region's dirty bit is set before anything that can fail, and
//! whatever fails afterwards is counted by reason. Facts about tracepoints and structures: block/blk-mq.c,
//! block/blk-core.c, include/linux/blk-mq.h, include/trace/events/block.h.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod bios;
mod commands;
mod dirty;
mod disks;
mod filter;
mod kernel;
mod maps;
mod payload;
mod requests;
mod scsi;
mod table;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The helpers that read kernel memory need a GPL-compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
