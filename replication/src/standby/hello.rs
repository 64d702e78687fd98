//! Whether a primary's hello fits this standby.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use formats::wire::{Hello, MIN_VERSION, Refuse, RefuseCode, VERSION, VolumeIdentity, VolumeKind};

use super::config::{LocalVolume, StreamVolume};

/// A refusal with its text.
pub(super) fn refuse(code: RefuseCode, text: &str) -> Refuse {
    Refuse { code, text: text.into() }
}

/// The newest version that both speak.
pub(super) fn version(hello: &Hello) -> Result<u16, Refuse> {
    let version = hello.max_version.min(VERSION);
    if version < hello.min_version.max(MIN_VERSION) {
        let text = format!(
            "protocol versions {} to {} are not spoken here ({MIN_VERSION} to {VERSION}): update the older side",
            hello.min_version, hello.max_version
        );
        return Err(refuse(RefuseCode::Version, &text));
    }
    Ok(version)
}

/// For each volume of the hello, its place among the local ones.
pub(super) fn places(hello: &Hello, local: &[LocalVolume]) -> Result<Vec<usize>, Refuse> {
    if hello.volumes.is_empty() {
        return Err(refuse(RefuseCode::UnknownVolume, "the hello names no volume"));
    }
    if hello.volumes.len() > 1 && hello.volumes.iter().any(|volume| volume.kind == VolumeKind::Sequential) {
        return Err(refuse(RefuseCode::Geometry, "a tape is a group of its own"));
    }
    let mut places = Vec::with_capacity(hello.volumes.len());
    for volume in &hello.volumes {
        let place = place(volume, local)?;
        if places.contains(&place) {
            let text = format!("volume {} is named twice", volume.name.to_string_lossy());
            return Err(refuse(RefuseCode::UnknownVolume, &text));
        }
        places.push(place);
    }
    Ok(places)
}

fn place(volume: &VolumeIdentity, local: &[LocalVolume]) -> Result<usize, Refuse> {
    let name = volume.name.to_string_lossy();
    let Some(place) = local.iter().position(|mine| mine.name == name) else {
        let names: Vec<&str> = local.iter().map(|mine| mine.name.as_str()).collect();
        let text = format!("no volume named {name} here, only: {}", names.join(", "));
        return Err(refuse(RefuseCode::UnknownVolume, &text));
    };
    let mine = &local[place];
    let tapes = (mine.block_size == 0, volume.kind == VolumeKind::Sequential);
    if tapes.0 != tapes.1 {
        let word = |tape| if tape { "tape" } else { "disk" };
        let text = format!("volume {name} is a {} here and a {} on the primary", word(tapes.0), word(tapes.1));
        return Err(refuse(RefuseCode::Geometry, &text));
    }
    if mine.size < volume.size {
        let text = format!("volume {name} has {} bytes here, fewer than the primary's {}", mine.size, volume.size);
        return Err(refuse(RefuseCode::Geometry, &text));
    }
    if mine.block_size != volume.block_size {
        let text = format!(
            "volume {name} has blocks of {} bytes here and of {} on the primary",
            mine.block_size, volume.block_size
        );
        return Err(refuse(RefuseCode::Geometry, &text));
    }
    Ok(place)
}

/// The volumes of the hello, as they are saved.
pub(super) fn stream_volumes(hello: &Hello) -> Vec<StreamVolume> {
    let volume = |v: &VolumeIdentity| -> StreamVolume {
        let name: String = v.name.to_string_lossy();
        StreamVolume { name, size: v.size, block_size: v.block_size }
    };
    hello.volumes.iter().map(volume).collect()
}
