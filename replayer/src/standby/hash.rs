//! Hashes of a volume's chunks, for `verify`.

use formats::ByteRange;
use formats::wire::{HashRequest, MAX_HASHES};
use thiserror::Error;

use crate::target::{Target, TargetError};

/// Bytes read at once.
const STEP: usize = 1 << 20;

/// Why a request for hashes is not answered.
#[derive(Error, Debug)]
pub(super) enum HashError {
    #[error("hash request for {range} in chunks of {chunk} bytes does not fit a volume of {size} bytes")]
    Range { range: ByteRange, chunk: u32, size: u64 },
    #[error("hash request for {0} chunks; at most {MAX_HASHES} are answered at once")]
    TooMany(u64),
    #[error("hash request for volume {0}, which the hello did not name")]
    Volume(u16),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("what was received is not applied yet after {0:?}: stop the load or ask again later")]
    NotDrained(std::time::Duration),
}

/// Checks a request against a volume of `size` bytes.
pub(super) fn check(request: &HashRequest, size: u64) -> Result<(), HashError> {
    let range = ByteRange::new(request.offset, request.len);
    if request.chunk == 0 || !range.fits(size) {
        return Err(HashError::Range { range, chunk: request.chunk, size });
    }
    match request.len.div_ceil(request.chunk.into()) {
        count if count > u64::from(MAX_HASHES) => Err(HashError::TooMany(count)),
        _ => Ok(()),
    }
}

/// BLAKE3 of each chunk; the request was checked before. Blocks while it reads.
pub(super) fn hashes(target: &dyn Target, request: &HashRequest) -> Result<Vec<[u8; 32]>, HashError> {
    let end = request.offset + request.len;
    let mut buffer = vec![0; STEP];
    let mut found = Vec::new();
    let mut offset = request.offset;
    while offset < end {
        let len = u64::from(request.chunk).min(end - offset);
        found.push(hash(target, ByteRange::new(offset, len), &mut buffer)?);
        offset += len;
    }
    Ok(found)
}

fn hash(target: &dyn Target, range: ByteRange, buffer: &mut [u8]) -> Result<[u8; 32], TargetError> {
    let mut hasher = blake3::Hasher::new();
    let mut offset = range.offset;
    while offset < range.end() {
        let len = (range.end() - offset).min(buffer.len() as u64) as usize;
        target.read(offset, &mut buffer[..len])?;
        hasher.update(&buffer[..len]);
        offset += len as u64;
    }
    Ok(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::MemoryTarget;

    fn request(offset: u64, len: u64, chunk: u32) -> HashRequest {
        HashRequest { id: 1, volume: 0, offset, len, chunk }
    }

    #[test]
    fn each_chunk_has_its_hash_and_the_last_may_be_short() {
        let target = MemoryTarget::new("t", 4 << 20);
        target.write(1 << 20, &[9; 4096], false).unwrap();
        let found = hashes(&target, &request(4096, (3 << 20) + 512, 2 << 20)).unwrap();
        let content = target.content();
        let expected: Vec<[u8; 32]> = content[4096..4096 + (3 << 20) + 512]
            .chunks(2 << 20)
            .map(|chunk| *blake3::hash(chunk).as_bytes())
            .collect();
        assert_eq!(found, expected);
        assert!(hashes(&target, &request(0, 0, 4096)).unwrap().is_empty());
    }

    #[test]
    fn hostile_requests_are_refused_before_any_work() {
        let size = 1 << 40;
        assert!(check(&request(0, size, 1 << 30), size).is_ok());
        assert!(matches!(check(&request(0, size, 0), size), Err(HashError::Range { .. })));
        assert!(matches!(check(&request(u64::MAX, 2, 1), size), Err(HashError::Range { .. })));
        assert!(matches!(check(&request(1, size, 1 << 30), size), Err(HashError::Range { .. })));
        assert!(matches!(check(&request(0, size, 512), size), Err(HashError::TooMany(_))));
    }
}
