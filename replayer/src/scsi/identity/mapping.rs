//! Differences that an administrator allows by name: `--map`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How recorded commands are put onto another device. Blocks of another size cannot be mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Mapping {
    /// Logical blocks that are added to each address; negative moves towards the start of the device.
    pub lba_offset: i64,
    /// The recorded LUN that this device stands for; without it, whichever the volume had.
    pub lun: Option<u64>,
}

/// Why a text is no mapping.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum MappingError {
    /// A word that is none of a mapping's.
    #[error("{0:?} is no part of a mapping; write for example lba=+2048 or lun=1, separated by commas")]
    Word(String),
    /// No word at all.
    #[error("a mapping that says nothing; write for example lba=+2048 or lun=1, or leave it out")]
    Nothing,
    /// The same thing twice.
    #[error("{0} is mapped twice; write it once")]
    Twice(&'static str),
    /// The size of blocks.
    #[error("blocks of another size cannot be mapped; use a device with the primary's block size")]
    BlockSize,
    /// A number that is none.
    #[error("{value:?} is no number for {key}")]
    Number {
        /// What it is for.
        key: &'static str,
        /// What was written.
        value: String,
    },
}

impl FromStr for Mapping {
    type Err = MappingError;

    /// `lba=OFFSET` and `lun=LUN`, separated by commas.
    fn from_str(text: &str) -> Result<Self, MappingError> {
        let (mut mapping, mut offset) = (Self::default(), None);
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word.split_once('=') {
                Some(("lba", value)) => once("lba", &mut offset, value)?,
                Some(("lun", value)) => once("lun", &mut mapping.lun, value)?,
                Some(("block" | "block-size" | "block_size", _)) => return Err(MappingError::BlockSize),
                _ => return Err(MappingError::Word(word.to_owned())),
            }
        }
        if offset.is_none() && mapping.lun.is_none() {
            return Err(MappingError::Nothing);
        }
        mapping.lba_offset = offset.unwrap_or(0);
        Ok(mapping)
    }
}

fn once<T: FromStr>(key: &'static str, place: &mut Option<T>, value: &str) -> Result<(), MappingError> {
    match place.replace(number(key, value)?) {
        Some(_) => Err(MappingError::Twice(key)),
        None => Ok(()),
    }
}

fn number<T: FromStr>(key: &'static str, value: &str) -> Result<T, MappingError> {
    value.parse().map_err(|_| MappingError::Number { key, value: value.to_owned() })
}
