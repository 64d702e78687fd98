//! The identity of a stream: the file that says which probe, boot and volumes the journal beside it belongs to.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use formats::StreamId;
use serde::{Deserialize, Serialize};

use crate::error::AgentError;
use crate::preflight::Device;

/// The file's name in the state directory.
const FILE: &str = "stream.json";

/// What makes a line of observation the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The stream, in hexadecimal.
    stream: String,
    /// The kernel's boot: pins do not outlive it, and what was written in between is unknown.
    boot: String,
    /// Bytes per region.
    region_bytes: u32,
    /// The filter: what another one let through is another stream. Empty where there is none.
    #[serde(default)]
    filter: String,
    volumes: Vec<VolumeLine>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct VolumeLine {
    name: String,
    number: String,
    start: u64,
    size: u64,
    diskseq: Option<u64>,
}

impl Identity {
    /// A new stream over these volumes.
    pub(crate) fn draw(
        names: &[String],
        devices: &[Device],
        region_bytes: u32,
        filter: &str,
    ) -> Result<Self, AgentError> {
        let stream = format!("{:016x}", random()?);
        Ok(Self { stream, ..Self::expected(names, devices, region_bytes, filter)? })
    }

    /// These volumes, in this boot, whatever the stream.
    fn expected(names: &[String], devices: &[Device], region_bytes: u32, filter: &str) -> Result<Self, AgentError> {
        let volumes = names.iter().zip(devices).map(|(name, device)| VolumeLine {
            name: name.clone(),
            number: format!("{}:{}", device.number.major, device.number.minor),
            start: device.start,
            size: device.size,
            diskseq: device.diskseq,
        });
        Ok(Self {
            stream: String::new(),
            boot: boot_id()?,
            region_bytes,
            filter: filter.to_owned(),
            volumes: volumes.collect(),
        })
    }

    /// The saved identity, if it is that of these volumes in this boot.
    pub(crate) fn load(
        dir: &Path,
        names: &[String],
        devices: &[Device],
        region_bytes: u32,
        filter: &str,
    ) -> Result<Option<Self>, AgentError> {
        let Ok(text) = fs::read_to_string(dir.join(FILE)) else { return Ok(None) };
        let Ok(saved) = serde_json::from_str::<Self>(&text) else { return Ok(None) };
        let expected = Self { stream: saved.stream.clone(), ..Self::expected(names, devices, region_bytes, filter)? };
        Ok((saved == expected && u64::from_str_radix(&saved.stream, 16).is_ok_and(|stream| stream != 0))
            .then_some(saved))
    }

    /// Saves it durably.
    pub(crate) fn save(&self, dir: &Path) -> Result<(), AgentError> {
        let path = dir.join(FILE);
        let state = |source| AgentError::State { what: "writing", path: path.clone(), source };
        let aside = dir.join("stream.json.new");
        let text = serde_json::to_string_pretty(self).map_err(|error| state(error.into()))?;
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside).map_err(state)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(state)?;
        fs::rename(&aside, &path).map_err(state)?;
        fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(state)
    }

    /// The stream.
    pub(crate) fn stream(&self) -> StreamId {
        StreamId(u64::from_str_radix(&self.stream, 16).unwrap_or_default())
    }
}

fn boot_id() -> Result<String, AgentError> {
    read("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned())
}

/// A random number, never 0.
pub(crate) fn random() -> Result<u64, AgentError> {
    let uuid = read("/proc/sys/kernel/random/uuid")?;
    let digits: String = uuid.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    Ok(u64::from_str_radix(&digits, 16).unwrap_or(1) | 1)
}

fn read(path: &str) -> Result<String, AgentError> {
    fs::read_to_string(path).map_err(|source| AgentError::State { what: "reading", path: path.into(), source })
}
