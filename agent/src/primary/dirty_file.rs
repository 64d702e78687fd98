//! The persisted dirty map of one secondary.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use formats::StreamId;
use formats::dirty::{self, DirtyMapFile};
use replication::dirty::DirtyMap;
use replication::primary::Covered;
use tracing::info;

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
    /// The file `dirty-NAME.map` in `dir`: that of the secondary of this name.
    #[must_use]
    pub fn of(dir: &Path, name: &str) -> Self {
        Self { path: dir.join(format!("dirty-{name}.map")) }
    }

    /// Whose map a file of this name is.
    #[must_use]
    pub fn name_in(file: &str) -> Option<String> {
        file.strip_prefix("dirty-")?.strip_suffix(".map").map(str::to_owned)
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The saved map of this stream, of the geometry of `like`, and what it covers; everything dirty when there is one
    /// that cannot be used; none when there is none.
    ///
    /// # Errors
    /// The system's, other than that there is no file.
    pub fn restore(&self, stream: StreamId, like: &DirtyMap) -> io::Result<Option<(DirtyMap, Option<Covered>)>> {
        let mut map = like.clone();
        map.clear();
        match self.load(stream)? {
            Persisted::Absent => Ok(None),
            Persisted::Map(saved) => {
                let marked = saved.runs.iter().try_for_each(|(volume, range)| map.mark(*volume, *range).map(drop));
                marked.unwrap_or_else(|_| map.mark_all());
                let covered = saved.covered.map(|(from, through, last_seq)| Covered { from, through, last_seq });
                Ok(Some((map, covered)))
            }
            Persisted::Unusable(why) => {
                info!("{} is not used: {why}", self.path.display());
                map.mark_all();
                Ok(Some((map, None)))
            }
        }
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
        let file = DirtyFile::of(dir.path(), "b");
        let stream = StreamId(5);
        assert_eq!(file.load(stream).expect("load"), Persisted::Absent);
        let map = DirtyMapFile { stream, runs: vec![(VolumeIndex(0), ByteRange::new(65536, 65536))], covered: None };
        file.save(&map).expect("save");
        assert_eq!(file.load(stream).expect("load"), Persisted::Map(map));
        assert!(matches!(file.load(StreamId(6)).expect("load"), Persisted::Unusable(_)));
        fs::write(file.path(), b"garbage").expect("damage");
        assert!(matches!(file.load(stream).expect("load"), Persisted::Unusable(_)));
        assert_eq!(DirtyFile::name_in("dirty-b.map").as_deref(), Some("b"));
        assert_eq!((DirtyFile::name_in("dirty.map"), DirtyFile::name_in("dirty-b.map.new")), (None, None));
    }
}
