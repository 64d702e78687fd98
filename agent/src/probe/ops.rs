//! The kernel's operation numbers and flag bits, translated to blkecho's own.

use formats::{Op, OpFlags};

use super::layout::op_number;
use crate::btf::Btf;

/// One kernel's REQ_OP_* numbers and REQ_* bits.
#[derive(Debug, Clone)]
pub struct Ops {
    named: Vec<(u8, Op)>,
    flags: Vec<(u32, OpFlags)>,
}

const NAMED: [(&str, Op); 13] = [
    ("REQ_OP_WRITE", Op::Write),
    ("REQ_OP_FLUSH", Op::Flush),
    ("REQ_OP_DISCARD", Op::Discard),
    ("REQ_OP_SECURE_ERASE", Op::SecureErase),
    ("REQ_OP_WRITE_ZEROES", Op::WriteZeroes),
    ("REQ_OP_ZONE_OPEN", Op::Zone),
    ("REQ_OP_ZONE_CLOSE", Op::Zone),
    ("REQ_OP_ZONE_FINISH", Op::Zone),
    ("REQ_OP_ZONE_APPEND", Op::Zone),
    ("REQ_OP_ZONE_RESET", Op::Zone),
    ("REQ_OP_ZONE_RESET_ALL", Op::Zone),
    ("REQ_OP_WRITE_SAME", Op::Opaque),
    ("REQ_OP_DRV_OUT", Op::Opaque),
];

const FLAGS: [(&str, OpFlags); 6] = [
    ("__REQ_FUA", OpFlags::FUA),
    ("__REQ_PREFLUSH", OpFlags::PREFLUSH),
    ("__REQ_SYNC", OpFlags::SYNC),
    ("__REQ_META", OpFlags::META),
    ("__REQ_NOUNMAP", OpFlags::NOUNMAP),
    ("__REQ_ATOMIC", OpFlags::ATOMIC),
];

impl Ops {
    /// This kernel's. A name it lacks is an operation it does not have.
    #[must_use]
    pub fn of(btf: &Btf) -> Self {
        let named = NAMED.iter().filter_map(|(name, op)| Some((op_number(btf, name)? as u8, *op))).collect();
        let flags = FLAGS
            .iter()
            .filter_map(|(name, flag)| {
                let bit = btf.enum_value("req_flag_bits", name).ok()?;
                Some((1u32.checked_shl(bit as u32)?, *flag))
            })
            .collect();
        Self { named, flags }
    }

    /// What a `cmd_flags` or `bi_opf` says. An operation without a name is opaque: it may have changed anything. An
    /// empty write is how a bio asks for a flush.
    #[must_use]
    pub fn translate(&self, cmd_flags: u32, len: u64) -> (Op, OpFlags) {
        let number = (cmd_flags & 0xff) as u8;
        let op = self.named.iter().find(|(n, _)| *n == number).map_or(Op::Opaque, |(_, op)| *op);
        let flags =
            self.flags.iter().filter(|(bit, _)| cmd_flags & bit != 0).fold(OpFlags::default(), |all, (_, f)| all | *f);
        match (op, len) {
            (Op::Write, 0) => (Op::Flush, flags - OpFlags::PREFLUSH),
            _ => (op, flags),
        }
    }
}

#[cfg(test)]
impl Ops {
    /// The numbers of kernel 6.1 that tests need.
    pub(crate) fn for_tests() -> Self {
        Self {
            named: vec![(1, Op::Write), (2, Op::Flush)],
            flags: vec![(1 << 17, OpFlags::FUA), (1 << 18, OpFlags::PREFLUSH)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_write_is_a_flush() {
        assert_eq!(Ops::for_tests().translate(1 | 1 << 18, 0), (Op::Flush, OpFlags::default()));
        assert_eq!(Ops::for_tests().translate(1 | 1 << 18, 512), (Op::Write, OpFlags::PREFLUSH));
    }

    #[test]
    fn an_unknown_operation_is_opaque() {
        assert_eq!(Ops::for_tests().translate(200, 8).0, Op::Opaque);
    }
}
