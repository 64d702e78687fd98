//! The captures in `captures/samples`: real ones, small, made in a guest, so that nothing of this machine is in them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::{vm, workspace};

/// Largest size of a sample in bytes: they are kept in the repository.
const LARGEST: u64 = 300 << 10;
/// What they are called.
const NAMES: [&str; 5] = ["database", "errors", "ext4", "tape", "xfs"];

/// Makes all of them; none is replaced unless all are there and small.
pub(crate) fn run() -> Result<()> {
    let made = tempfile::tempdir_in(workspace::target())?;
    vm::samples(made.path())?;
    let file = |name: &&str| made.path().join(format!("{name}.pcapng.zst"));
    let files: Vec<PathBuf> = NAMES.iter().map(file).collect();
    for file in &files {
        let len = fs::metadata(file).with_context(|| format!("{} was not made", file.display()))?.len();
        if len > LARGEST {
            bail!(
                "{} has {len} bytes, more than {LARGEST}: make its workload in tests/src/vm/samples.sh smaller",
                file.display()
            );
        }
    }
    let folder = workspace::root().join("captures/samples");
    for file in &files {
        let name = file.file_name().context("a file has a name")?;
        fs::copy(file, folder.join(name))?;
        println!("samples: {}, {} bytes", name.to_string_lossy(), fs::metadata(file)?.len());
    }
    Ok(())
}
