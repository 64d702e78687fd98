//! Reading kernel memory.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;

/// The `T` at `address + offset`, or none if it cannot be read.
#[inline(always)]
pub fn read<T: Copy>(address: u64, offset: u32) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    let from = address.wrapping_add(u64::from(offset)) as *const core::ffi::c_void;
    // SAFETY: the helper writes `size_of::<T>()` bytes of `value`, or fails; `T` is plain data.
    let result = unsafe { bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, from) };
    // SAFETY: the helper fills the whole buffer (with zeros where it fails).
    if result == 0 { Some(unsafe { value.assume_init() }) } else { None }
}

/// A run of kernel memory on the stack, read at once; fields are then taken from it without a helper call each.
#[repr(C, align(8))]
pub struct Window<const BYTES: usize>([u8; BYTES]);

impl<const BYTES: usize> Window<BYTES> {
    /// The memory at `address`.
    #[inline(always)]
    pub fn at(address: u64) -> Option<Self> {
        read::<[u8; BYTES]>(address, 0).map(Self)
    }

    /// Takes the memory at `address` into one that exists already.
    #[inline(always)]
    pub fn load(&mut self, address: u64) -> bool {
        // SAFETY: the helper writes BYTES bytes into this window, or fails.
        let result = unsafe { bpf_probe_read_kernel(self.0.as_mut_ptr().cast(), BYTES as u32, address as *const core::ffi::c_void) };
        result == 0
    }

    /// The `T` at `offset`, which the agent has checked to lie inside.
    #[inline(always)]
    pub fn field<T: Copy>(&self, offset: u32) -> T {
        // SAFETY: `offset` comes from the frozen layout, whose fields the agent refuses beyond BYTES - 8; the verifier
        // knows its value and checks the access once more.
        unsafe { self.0.as_ptr().add(offset as usize).cast::<T>().read_unaligned() }
    }
}
