//! Changing valid bytes into interesting ones.

use formats::Crc32c;
use journal::faulty::Rng;

const INTERESTING: [u64; 12] =
    [0, 1, 2, 127, 128, 255, 256, 65_535, 1 << 24, u32::MAX as u64, i64::MAX as u64, u64::MAX];

/// Changes `bytes` in one to four places.
pub fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..=rng.below(4) {
        once(bytes, rng);
    }
}

fn once(bytes: &mut Vec<u8>, rng: &mut Rng) {
    if bytes.is_empty() {
        bytes.extend(noise(rng, 16));
        return;
    }
    let at = rng.below(bytes.len() as u64) as usize;
    match rng.below(8) {
        0 | 1 => bytes[at] ^= 1 << rng.below(8),
        2 => bytes[at] = rng.next_u64() as u8,
        3 | 4 => overwrite(bytes, at, &number(rng)),
        5 => bytes.truncate(at),
        6 => bytes.extend(noise(rng, 32)),
        _ => {
            let from = rng.below(bytes.len() as u64) as usize;
            let part = bytes[from..bytes.len().min(from + 64)].to_vec();
            overwrite(bytes, at, &part);
        }
    }
}

/// An integer of 1, 2, 4 or 8 bytes with a value that limits are made of.
fn number(rng: &mut Rng) -> Vec<u8> {
    let value = INTERESTING[rng.below(INTERESTING.len() as u64) as usize];
    let near = value.wrapping_add(rng.below(3)).wrapping_sub(1);
    near.to_le_bytes()[..1 << rng.below(4)].to_vec()
}

/// Puts `part` over what is at `at`, as far as there is room.
pub fn overwrite(bytes: &mut [u8], at: usize, part: &[u8]) {
    let len = part.len().min(bytes.len() - at);
    bytes[at..at + len].copy_from_slice(&part[..len]);
}

/// Up to `most` arbitrary bytes.
pub fn noise(rng: &mut Rng, most: u64) -> Vec<u8> {
    (0..rng.below(most + 1)).map(|_| rng.next_u64() as u8).collect()
}

/// Makes the checksum at `at` that of `bytes[..at]`, followed by `more`.
pub fn repair(bytes: &mut [u8], at: usize, more: &[&[u8]]) {
    if bytes.len() >= at + 4 {
        let parts: Vec<&[u8]> = [&bytes[..at]].into_iter().chain(more.iter().copied()).collect();
        let crc = Crc32c::of_parts(&parts);
        bytes[at..at + 4].copy_from_slice(&crc.0.to_le_bytes());
    }
}
