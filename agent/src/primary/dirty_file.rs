//! The persisted dirty map of one secondary.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use formats::StreamId;
use formats::dirty::{self, DirtyMapFile};

/// The file, written aside and renamed.
#[derive(Debug)]
pub struct DirtyFile {
    path: PathBuf,
}

/// What the file says.
#[derive(Debug, PartialEq, Eq)]
pub enum Persisted {
    /// There is none: nothing was ever dirty, or this is the first run.
    Absent,
    /// A map of this stream.
    Map(DirtyMapFile),
    /// It belongs to another stream or is damaged: everything must be taken for dirty.
    Unusable(String),
}

impl DirtyFile {
    /// The file `dirty.map` in `dir`.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { path: dir.join("dirty.map") }
    }

    /// Replaces its content, durably.
    ///
    /// # Errors
    /// The system's; the old content then stays.
    pub fn save(&self, map: &DirtyMapFile) -> io::Result<()> {
        let aside = self.path.with_extension("map.new");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(&dirty::encode(map))?;
        file.sync_all()?;
        fs::rename(&aside, &self.path)?;
        File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }

    /// Its content for `stream`.
    ///
    /// # Errors
    /// The system's, other than that there is no file.
    pub fn load(&self, stream: StreamId) -> io::Result<Persisted> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Persisted::Absent),
            Err(error) => return Err(error),
        };
        Ok(match dirty::decode(&bytes) {
            Ok(map) if map.stream == stream => Persisted::Map(map),
            Ok(map) => Persisted::Unusable(format!("it belongs to stream {}", map.stream)),
            Err(error) => Persisted::Unusable(error.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::{ByteRange, VolumeIndex};

    #[test]
    fn saves_loads_and_tells_damage() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let file = DirtyFile::new(dir.path());
        let stream = StreamId(5);
        assert_eq!(file.load(stream).expect("load"), Persisted::Absent);
        let map = DirtyMapFile { stream, runs: vec![(VolumeIndex(0), ByteRange::new(65536, 65536))], covered: None };
        file.save(&map).expect("save");
        assert_eq!(file.load(stream).expect("load"), Persisted::Map(map));
        assert!(matches!(file.load(StreamId(6)).expect("load"), Persisted::Unusable(_)));
        fs::write(dir.path().join("dirty.map"), b"garbage").expect("damage");
        assert!(matches!(file.load(stream).expect("load"), Persisted::Unusable(_)));
    }
}
