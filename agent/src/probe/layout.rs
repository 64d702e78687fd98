//! Where the running kernel keeps what the probe reads, found in its BTF.
//!
//! All differences between kernels end here: the probe itself is one object for all. Which member moved when is told
//! in the comments, with the kernel release.

use probe_types::Layout;

use crate::btf::{Btf, BtfError};

/// Bytes of `struct request` that the probe reads at once (`Window<64>`), and of `struct bio` (`Window<128>`).
const REQUEST_WINDOW: u32 = 64;
const BIO_WINDOW: u32 = 128;

/// A kernel whose structures the probe cannot read.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A structure, member or enumerator is missing.
    #[error("the running kernel's BTF lacks what the probe needs: {0}; kernels from 5.17 to 6.18 are known to have it")]
    Btf(#[from] BtfError),
    /// A member lies too far into its structure.
    #[error("{member} of struct {structure} lies at byte {offset}, beyond the {window} that the probe reads")]
    OutOfWindow {
        /// Which structure.
        structure: &'static str,
        /// Which member.
        member: &'static str,
        /// Where it lies.
        offset: u32,
        /// How much is read.
        window: u32,
    },
    /// `struct page` has a size that is no power of two.
    #[error("struct page has {0} bytes, which is no power of two: payload addresses cannot be computed")]
    PageSize(u32),
}

/// Looks up members within a window.
struct Lookup<'a> {
    btf: &'a Btf,
}

impl Lookup<'_> {
    fn member(&self, structure: &'static str, member: &'static str) -> Result<u32, LayoutError> {
        Ok(self.btf.member_offset(structure, member)?)
    }

    fn within(&self, structure: &'static str, member: &'static str, window: u32) -> Result<u32, LayoutError> {
        let offset = self.member(structure, member)?;
        if offset + 8 > window {
            return Err(LayoutError::OutOfWindow { structure, member, offset, window });
        }
        Ok(offset)
    }

    fn request(&self, member: &'static str) -> Result<u32, LayoutError> {
        self.within("request", member, REQUEST_WINDOW)
    }

    fn bio(&self, member: &'static str) -> Result<u32, LayoutError> {
        self.within("bio", member, BIO_WINDOW)
    }
}

/// Finds the layout, for regions of `1 << region_shift` bytes. `words_per_slot` and `volumes` are the caller's.
///
/// # Errors
/// Names what the kernel lacks.
pub fn find(btf: &Btf, region_shift: u32) -> Result<Layout, LayoutError> {
    let look = Lookup { btf };
    let page_struct = btf.struct_size("page")?;
    if !page_struct.is_power_of_two() {
        return Err(LayoutError::PageSize(page_struct));
    }
    let carried = ops_carried(btf);
    Ok(Layout {
        rq_q: look.request("q")?,
        rq_mq_hctx: look.request("mq_hctx")?,
        rq_cmd_flags: look.request("cmd_flags")?,
        rq_data_len: look.request("__data_len")?,
        rq_sector: look.request("__sector")?,
        rq_bio: look.request("bio")?,
        queue_disk: look.member("request_queue", "disk")?,
        disk_major: look.member("gendisk", "major")?,
        disk_first_minor: look.member("gendisk", "first_minor")?,
        hctx_tags: look.member("blk_mq_hw_ctx", "tags")?,
        tags_static_rqs: look.member("blk_mq_tags", "static_rqs")?,
        tags_page_list: look.member("blk_mq_tags", "page_list")?,
        page_lru: look.member("page", "lru")?,
        page_struct_shift: page_struct.trailing_zeros(),
        page_shift: rustix::param::page_size().trailing_zeros(),
        bio_next: look.bio("bi_next")?,
        bio_bdev: look.bio("bi_bdev")?,
        bio_opf: look.bio("bi_opf")?,
        bio_status: look.bio("bi_status")?,
        bio_sector: look.bio("bi_iter.bi_sector")?,
        bio_size: look.bio("bi_iter.bi_size")?,
        bio_idx: look.bio("bi_iter.bi_idx")?,
        bio_bvec_done: look.bio("bi_iter.bi_bvec_done")?,
        bio_io_vec: look.bio("bi_io_vec")?,
        bdev_disk: look.member("block_device", "bd_disk")?,
        status_is_errno: u32::from(passes_errno(btf)),
        region_shift,
        ops_carried_low: carried as u32,
        ops_carried_high: (carried >> 32) as u32,
        ..Layout::default()
    })
}

/// `block_rq_complete` passes a `blk_status_t` since 5.18; `block_rq_error` came with the same release.
fn passes_errno(btf: &Btf) -> bool {
    !btf.has_type("btf_trace_block_rq_error")
}

/// Every operation but reads and answers to reads: an unknown one is carried too, and named, never passed over.
fn ops_carried(btf: &Btf) -> u64 {
    let reads = ["REQ_OP_READ", "REQ_OP_ZONE_REPORT", "REQ_OP_DRV_IN", "REQ_OP_SCSI_IN"];
    reads.iter().filter_map(|name| op_number(btf, name)).fold(u64::MAX, |mask, op| mask & !(1 << (op & 63)))
}

/// The number of a REQ_OP_*, if this kernel has it. `enum req_opf` became `enum req_op` in 6.0.
pub fn op_number(btf: &Btf, name: &str) -> Option<u64> {
    btf.enum_value("req_op", name).or_else(|_| btf.enum_value("req_opf", name)).ok().map(|value| value as u64)
}
