//! Where the parts of a capture lie: names, and what may not be overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{ChainError, Limits};
use crate::output::Output;

/// The name of a capture file ends with it; a number goes in front.
const ENDING: &str = ".pcapng";

/// Where a capture goes.
pub enum Place {
    /// An open stream; taken by the first part, which is the only one.
    Stream(Option<Box<dyn Write + Send>>),
    /// A file or a named pipe, or files with numbers.
    Path {
        /// As named.
        path: PathBuf,
        /// Whether what is there may be replaced.
        replace: bool,
    },
}

impl Place {
    /// Looks whether a capture could go there, without touching anything.
    ///
    /// # Errors
    /// [`ChainError::Exists`], [`ChainError::NoPlace`] or what the system says.
    pub fn check(&self, limits: &Limits) -> Result<(), ChainError> {
        let Self::Path { path, replace } = self else { return Ok(()) };
        let found = if limits.in_parts() { parts(path)?.into_iter().next() } else { existing(path)? };
        match found {
            Some(path) if !replace => Err(ChainError::Exists(path)),
            _ => Ok(()),
        }
    }

    /// Checks, and removes what is to be replaced.
    pub(super) fn clear(&self, limits: &Limits) -> Result<(), ChainError> {
        self.check(limits)?;
        let Self::Path { path, .. } = self else { return Ok(()) };
        let old = if limits.in_parts() { parts(path)? } else { Vec::new() };
        old.into_iter().try_for_each(|path| match fs::remove_file(&path) {
            Err(source) => Err(ChainError::Open { path, source }),
            Ok(()) => Ok(()),
        })
    }

    /// The output of a part, and its file if it is one. Number 0 is for a capture without parts.
    pub(super) fn open(&mut self, part: u32, level: Option<i32>) -> Result<(Output, Option<PathBuf>), ChainError> {
        let failed = |path: &Path, source| ChainError::Open { path: path.to_owned(), source };
        match self {
            Self::Stream(stream) => {
                let stream = stream.take().ok_or(ErrorKind::BrokenPipe).map_err(io::Error::from);
                let output = stream.and_then(|stream| Output::stream(stream, level));
                Ok((output.map_err(|source| failed(Path::new("-"), source))?, None))
            }
            Self::Path { path, .. } if is_pipe(path) => {
                let opened = OpenOptions::new().write(true).open(&*path);
                let output = opened.and_then(|pipe| Output::stream(Box::new(pipe), level));
                Ok((output.map_err(|source| failed(path, source))?, None))
            }
            Self::Path { path, replace } => {
                let path = if part == 0 { path.clone() } else { numbered(path, part) };
                let output = create(&path, *replace && part == 0).and_then(|file| Output::file(file, level));
                Ok((output.map_err(|source| failed(&path, source))?, Some(path)))
            }
        }
    }
}

/// For nobody but its owner: it holds what was written.
fn create(path: &Path, replace: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    if replace {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    options.open(path)
}

fn is_pipe(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo())
}

/// The file that would be overwritten, if there is one.
fn existing(path: &Path) -> Result<Option<PathBuf>, ChainError> {
    let no_place = |what| Err(ChainError::NoPlace { path: path.to_owned(), what });
    match fs::metadata(path).map(|meta| meta.file_type()) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ChainError::Open { path: path.to_owned(), source }),
        Ok(kind) if kind.is_file() => Ok(Some(path.to_owned())),
        Ok(kind) if kind.is_fifo() => Ok(None),
        Ok(kind) if kind.is_block_device() => no_place("a block device"),
        Ok(kind) if kind.is_dir() => no_place("a directory"),
        Ok(_) => no_place("no file"),
    }
}

/// What stands in front of a part's number, and behind it.
fn around(path: &Path) -> (String, String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let at = name.find(ENDING).unwrap_or(name.len());
    (format!("{}-", &name[..at]), name[at..].to_owned())
}

/// The path of a part: `trace-000001.pcapng` for `trace.pcapng`.
fn numbered(path: &Path, part: u32) -> PathBuf {
    let (before, after) = around(path);
    path.with_file_name(format!("{before}{part:06}{after}"))
}

/// The parts that are there, by number.
fn parts(path: &Path) -> Result<Vec<PathBuf>, ChainError> {
    let (before, after) = around(path);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |source| ChainError::Open { path: path.to_owned(), source };
    let is_part = |name: &str| {
        let number = name.strip_prefix(&before).and_then(|name| name.strip_suffix(&after));
        number.is_some_and(|number| number.len() >= 6 && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        found.extend(path.file_name().is_some_and(|name| is_part(&name.to_string_lossy())).then(|| path.clone()));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_numbers_in_their_names() {
        assert_eq!(numbered(Path::new("/a/t.pcapng.zst"), 12), Path::new("/a/t-000012.pcapng.zst"));
        assert_eq!(numbered(Path::new("t"), 1), Path::new("t-000001"));
        let dir = tempfile::tempdir().expect("a directory");
        for name in
            ["t-000002.pcapng", "t-000001.pcapng", "t-1.pcapng", "t-00000x.pcapng", "t.pcapng", "s-000001.pcapng"]
        {
            fs::write(dir.path().join(name), "").expect("a file");
        }
        let found = parts(&dir.path().join("t.pcapng")).expect("found");
        assert_eq!(found, ["t-000001.pcapng", "t-000002.pcapng"].map(|name| dir.path().join(name)));
    }

    #[test]
    fn nothing_is_replaced_unasked() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("t.pcapng");
        let place = |replace| Place::Path { path: path.clone(), replace };
        let parted = Limits { part_bytes: Some(1), ..Limits::default() };
        assert!(place(false).check(&Limits::default()).is_ok() && place(false).check(&parted).is_ok());
        fs::write(&path, "").expect("a file");
        assert!(matches!(place(false).check(&Limits::default()), Err(ChainError::Exists(_))));
        assert!(place(true).check(&Limits::default()).is_ok() && place(false).check(&parted).is_ok());
        fs::write(numbered(&path, 3), "").expect("a file");
        assert!(matches!(place(false).check(&parted), Err(ChainError::Exists(_))));
        place(true).clear(&parted).expect("cleared");
        assert!(!numbered(&path, 3).exists() && path.exists());
        let folder = Place::Path { path: dir.path().to_owned(), replace: true };
        assert!(matches!(folder.check(&Limits::default()), Err(ChainError::NoPlace { .. })));
    }
}
