//! How a device differs from the recorded one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Capacity, Identity, Mapping};

/// What a difference means for replay.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Severity {
    /// Expected of another device.
    Info,
    /// Content stays equal; provisioning, speed or durability may not.
    Warn,
    /// Replay would write something wrong, or to the wrong place: it is not begun.
    Refuse,
}

/// One difference.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Difference {
    /// What differs.
    pub name: &'static str,
    /// What it means.
    pub severity: Severity,
    /// What was recorded.
    pub recorded: String,
    /// What is here.
    pub here: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, recorded, here, .. } = self;
        match self.severity {
            Severity::Info => write!(f, "{name}: {recorded} was recorded, here {here}"),
            Severity::Warn => write!(f, "warning: {name}: {recorded} was recorded, here {here}"),
            Severity::Refuse => write!(f, "refused: {name}: {recorded} was recorded, here {here}; use another device"),
        }
    }
}

struct List(Vec<Difference>);

impl List {
    fn note<T: PartialEq + Clone>(
        &mut self,
        severity: Severity,
        name: &'static str,
        both: (T, T),
        show: fn(T) -> String,
    ) {
        let (recorded, here) = both;
        if recorded != here {
            self.0.push(Difference { name, severity, recorded: show(recorded), here: show(here) });
        }
    }
}

fn number<T: ToString>(value: T) -> String {
    value.to_string()
}

/// A value that may not be told.
fn told<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "not told".to_owned(), |value| value.to_string())
}

fn quoted(value: &str) -> String {
    format!("{value:?}")
}

fn protection(value: u8) -> String {
    if value == 0 { "none".to_owned() } else { format!("type {value}") }
}

/// In what `here` is not `recorded`, under a mapping. The most severe come first.
#[must_use]
pub fn differences(recorded: &Identity, here: &Identity, mapping: Mapping) -> Vec<Difference> {
    let mut list = List(Vec::new());
    list.note(Severity::Refuse, "device type", (recorded.kind(), here.kind()), number);
    match (recorded.capacity, here.capacity) {
        (Some(then), Some(now)) => media(&mut list, then, now, mapping),
        (then, now) => list.note(Severity::Refuse, "medium of blocks", (then.is_some(), now.is_some()), number),
    }
    names(&mut list, recorded, here);
    provisioning(&mut list, recorded, here);
    limits(&mut list, recorded, here);
    list.note(Severity::Warn, "write cache (WCE)", (recorded.modes.write_cache, here.modes.write_cache), told);
    list.note(Severity::Warn, "FUA taken (DPOFUA)", (recorded.modes.fua, here.modes.fua), number);
    reserved(&mut list, recorded, here);
    list.0.sort_by_key(|difference| std::cmp::Reverse(difference.severity));
    list.0
}

fn media(list: &mut List, then: Capacity, now: Capacity, mapping: Mapping) {
    list.note(Severity::Refuse, "block size", (then.block_size, now.block_size), number);
    list.note(Severity::Refuse, "protection", (then.protection, now.protection), protection);
    let end = then.blocks.checked_add_signed(mapping.lba_offset);
    let severity = if end.is_some_and(|end| end <= now.blocks) { Severity::Info } else { Severity::Refuse };
    let wanted = if mapping.lba_offset == 0 {
        format!("{} blocks", then.blocks)
    } else {
        format!("{} blocks, moved by {}", then.blocks, mapping.lba_offset)
    };
    if severity == Severity::Refuse || then.blocks != now.blocks {
        let here = format!("{} blocks", now.blocks);
        list.0.push(Difference { name: "capacity", severity, recorded: wanted, here });
    }
    list.note(Severity::Info, "physical block exponent", (then.physical_exponent, now.physical_exponent), number);
}

fn names(list: &mut List, recorded: &Identity, here: &Identity) {
    list.note(Severity::Warn, "vendor", (&*recorded.vendor, &*here.vendor), quoted);
    list.note(Severity::Warn, "product", (&*recorded.product, &*here.product), quoted);
    list.note(Severity::Warn, "revision", (&*recorded.revision, &*here.revision), quoted);
    list.note(Severity::Info, "serial number", (recorded.serial.as_deref(), here.serial.as_deref()), told);
    let named = |identity: &Identity| !identity.designators.is_empty();
    if named(recorded) && recorded.designators == here.designators && recorded.serial == here.serial {
        let name = recorded.designators.iter().map(|name| name.value.as_str()).next().unwrap_or_default();
        list.0.push(Difference {
            name: "the recorded device itself",
            severity: Severity::Warn,
            recorded: name.to_owned(),
            here: "the same; never replay onto the primary's own disk".to_owned(),
        });
    }
}

fn provisioning(list: &mut List, recorded: &Identity, here: &Identity) {
    let (then, now) = (recorded.provisioning.unwrap_or_default(), here.provisioning.unwrap_or_default());
    list.note(Severity::Warn, "UNMAP (LBPU)", (then.unmap, now.unmap), number);
    list.note(Severity::Warn, "WRITE SAME(16) with UNMAP (LBPWS)", (then.write_same_16, now.write_same_16), number);
    list.note(Severity::Warn, "WRITE SAME(10) with UNMAP (LBPWS10)", (then.write_same_10, now.write_same_10), number);
    let zeros = (recorded.reads_zeros(), here.reads_zeros());
    list.note(Severity::Warn, "unmapped blocks read as zeros (LBPRZ)", zeros, number);
    list.note(Severity::Warn, "anchored blocks (ANC_SUP)", (then.anchor, now.anchor), number);
    list.note(Severity::Warn, "provisioning type", (then.kind, now.kind), number);
}

fn limits(list: &mut List, recorded: &Identity, here: &Identity) {
    let (then, now) = (recorded.limits.unwrap_or_default(), here.limits.unwrap_or_default());
    list.note(Severity::Warn, "maximum transfer length", (then.transfer, now.transfer), number);
    list.note(Severity::Warn, "maximum unmap blocks", (then.unmap_blocks, now.unmap_blocks), number);
    list.note(Severity::Warn, "maximum unmap descriptors", (then.unmap_descriptors, now.unmap_descriptors), number);
    list.note(Severity::Warn, "unmap granularity", (then.unmap_granularity, now.unmap_granularity), number);
    list.note(Severity::Warn, "unmap alignment", (then.unmap_alignment, now.unmap_alignment), number);
    list.note(Severity::Warn, "maximum write same length", (then.write_same, now.write_same), number);
    let compare = (then.compare_and_write, now.compare_and_write);
    list.note(Severity::Warn, "maximum compare and write length", compare, number);
}

fn reserved(list: &mut List, recorded: &Identity, here: &Identity) {
    let held = |identity: &Identity| {
        let held = identity.reservations.as_ref().and_then(|reservations| reservations.held);
        held.map_or_else(|| "none".to_owned(), |held| format!("type {} by key {:#x}", held.kind, held.key))
    };
    list.note(Severity::Warn, "reservation", (held(recorded), held(here)), number);
}

/// Whether a device is still the one that it was: what is checked when it says that something about it changed. Mode
/// pages and reservations may be others.
#[must_use]
pub fn is_same_unit(before: &Identity, now: &Identity) -> bool {
    let media = |identity: &Identity| identity.capacity.map(|c| (c.blocks, c.block_size, c.protection));
    before.device_type == now.device_type
        && media(before) == media(now)
        && before.serial == now.serial
        && before.designators == now.designators
}
