//! The secondaries of a group: their names, and what is saved of each.
//!
//! A name stands for one standby and what is known of it: a cursor of the journal, and the file `dirty-NAME.map`. Only the
//! two together with the stream tell what that standby misses, so a name must not pass from one standby to another; a
//! name without a file is that of a standby of which nothing is known, which is sent everything.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use formats::Seq;
use journal::{Journal, RealDisk};
use replication::dirty::DirtyMap;
use replication::group::{Group, GroupError, MAX_MEMBERS};
use replication::primary::{PrimaryConfig, Restored};
use tracing::{info, warn};

use crate::config::is_name;
use crate::error::AgentError;
use crate::primary::DirtyFile;

/// The only secondary's name, and the name of its file, before a group could have several.
const SINGLE: &str = "secondary";
const SINGLE_FILE: &str = "dirty.map";

/// Whether `wait-sync` waits for a standby. Nothing else does: the application's own commands never wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncMode {
    /// It does not.
    #[default]
    Asynchronous,
    /// It does.
    Synchronous,
}

impl fmt::Display for SyncMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asynchronous => "async",
            Self::Synchronous => "sync",
        })
    }
}

impl FromStr for SyncMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "async" => Ok(Self::Asynchronous),
            "sync" => Ok(Self::Synchronous),
            _ => Err(format!("{text:?} is no mode of a standby: it is async or sync")),
        }
    }
}

/// A standby.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secondary {
    /// Its name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// `HOST:PORT`.
    pub address: String,
    /// Whether it is waited for.
    pub mode: SyncMode,
}

impl Secondary {
    /// The standby at this address, which gives it its name.
    #[must_use]
    pub fn at(address: &str) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        let name: String = address.chars().map(plain).collect();
        let name = name.trim_start_matches(['-', '.']).to_owned();
        Self { name, address: address.to_owned(), mode: SyncMode::default() }
    }
}

/// Checks names and number.
pub(crate) fn check(secondaries: &[Secondary]) -> Result<(), AgentError> {
    let usage = |text: String| Err(AgentError::Usage(text));
    if secondaries.is_empty() || secondaries.len() > MAX_MEMBERS {
        return usage(format!("{} standbys: a group has 1 to {MAX_MEMBERS}", secondaries.len()));
    }
    for (place, Secondary { name, address, .. }) in secondaries.iter().enumerate() {
        if !is_name(name) {
            let rule = "use 1 to 64 letters, digits, `-`, `_`, `.`";
            return usage(format!("`{name}` as the name of a standby: {rule}, with --to {address},name=NAME"));
        }
        if secondaries[..place].iter().any(|other| other.name == *name || other.address == *address) {
            return usage(format!("two standbys are named `{name}` or have the address {address}: name each once"));
        }
    }
    Ok(())
}

/// Why there is no group of these.
pub(crate) fn no_group(error: GroupError) -> AgentError {
    match error {
        GroupError::Config(error) => error.into(),
        other => AgentError::Usage(other.to_string()),
    }
}

/// What the engines are made from.
pub(crate) struct Source<'a> {
    pub dir: &'a Path,
    pub secondaries: &'a [Secondary],
    pub settings: PrimaryConfig,
    /// Whether the stream goes on; if not, what is saved is of no use.
    pub picked_up: bool,
    /// What the kernel's map holds.
    pub live: DirtyMap,
    /// The kernel's completion counter, read after it.
    pub completed: Seq,
}

impl Source<'_> {
    /// Puts the engines of all secondaries into `group`.
    pub(crate) fn fill(&self, group: &mut Group, journal: &Journal<RealDisk>) -> Result<(), AgentError> {
        for Secondary { name, .. } in self.secondaries {
            let taken = match self.restored(name, journal)? {
                Some(restored) => group.restore(name, self.settings.clone(), restored),
                None => {
                    info!("nothing is known of `{name}`: it is sent everything");
                    group.join(name, self.settings.clone(), self.completed)
                }
            };
            taken.map_err(no_group)?;
        }
        Ok(())
    }

    /// What is saved of a secondary, with the kernel's map; none when nothing is, and the stream goes on.
    fn restored(&self, name: &str, journal: &Journal<RealDisk>) -> Result<Option<Restored>, AgentError> {
        let saved = DirtyFile::of(self.dir, name).restore(self.settings.stream, &self.live);
        let saved = saved.map_err(|source| state("reading the dirty maps in", self.dir, source))?;
        let (mut dirty, covered) = match saved {
            None if self.picked_up => return Ok(None),
            None => (self.live.clone(), None),
            Some(saved) => saved,
        };
        if dirty.union(&self.live).is_err() {
            dirty.mark_all();
        }
        let cursor = if self.picked_up { journal.cursor(name).unwrap_or(0) } else { 0 };
        let acknowledged = formats::Position(cursor);
        Ok(Some(Restored { acknowledged, dirty: Some(dirty), covered, completed: self.completed, ..Restored::NOTHING }))
    }
}

/// Takes over what an agent with a single secondary left, and removes what is given up. The state of a secondary that
/// nobody names is not dropped by itself: a mistyped address would cost a full copy.
pub(crate) fn settle(
    dir: &Path,
    secondaries: &[Secondary],
    forget: &[String],
    journal: &mut Journal<RealDisk>,
    picked_up: bool,
) -> Result<(), AgentError> {
    if let Some(heir) = secondaries.first() {
        take_over(dir, &heir.name, journal, picked_up)?;
    }
    let is_named = |name: &str| secondaries.iter().any(|secondary| secondary.name == name);
    for name in saved_names(dir)?.iter().filter(|name| !is_named(name)) {
        if picked_up && !forget.contains(name) {
            return Err(AgentError::Unnamed { name: name.clone(), dir: dir.to_owned() });
        }
        fs::remove_file(DirtyFile::of(dir, name).path()).map_err(|source| state("removing a map in", dir, source))?;
        warn!("the state of `{name}` is given up: should it come back, it is sent everything");
    }
    let cursors: Vec<String> = journal.cursors().iter().map(|cursor| cursor.name.clone()).collect();
    for name in cursors.iter().filter(|name| !is_named(name)) {
        journal.remove_cursor(name)?;
    }
    Ok(())
}

/// The stream had one secondary only, so no other standby can hold it: the first that is named is the heir, and if it is
/// another one it holds no stream or another, and is sent everything.
fn take_over(dir: &Path, heir: &str, journal: &mut Journal<RealDisk>, picked_up: bool) -> Result<(), AgentError> {
    let single = dir.join(SINGLE_FILE);
    if !single.exists() {
        return Ok(());
    }
    let file = DirtyFile::of(dir, heir);
    if !picked_up || file.path().exists() {
        return fs::remove_file(&single).map_err(|source| state("removing", &single, source));
    }
    fs::rename(&single, file.path()).map_err(|source| state("renaming", &single, source))?;
    info!("`{heir}` takes over what was known of the single secondary");
    if let Some(cursor) = journal.cursor(SINGLE) {
        journal.set_cursor(heir, cursor.max(journal.first() - 1))?;
    }
    Ok(())
}

/// Whose maps lie in `dir`.
fn saved_names(dir: &Path) -> Result<Vec<String>, AgentError> {
    let entries = fs::read_dir(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.map_err(|source| state("listing", dir, source))?;
    let names = entries.iter().filter_map(|entry| DirtyFile::name_in(&entry.file_name().to_string_lossy()));
    Ok(names.collect())
}

fn state(what: &'static str, path: &Path, source: std::io::Error) -> AgentError {
    AgentError::State { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::dirty::DirtyMapFile;
    use formats::{Position, StreamId};
    use journal::{Config, SyncPolicy};
    use replication::primary::JournalExtent;

    const STREAM: StreamId = StreamId(9);

    fn open(dir: &Path) -> Journal<RealDisk> {
        let config = Config { segment_bytes: 16 << 10, total_bytes: 64 << 10, sync: SyncPolicy::Never };
        Journal::open(RealDisk::new(dir.join("journal")).expect("disk"), config).expect("journal").0
    }

    fn save(dir: &Path, name: &str) {
        let covered = Some((Position(1), Position(2), Seq(2)));
        DirtyFile::of(dir, name).save(&DirtyMapFile { stream: STREAM, runs: Vec::new(), covered }).expect("save");
    }

    fn all(names: &[&str]) -> Vec<Secondary> {
        let one = |name: &&str| Secondary { name: (*name).into(), ..Secondary::at(&format!("{name}:1")) };
        names.iter().map(one).collect()
    }

    fn fill(dir: &Path, secondaries: &[Secondary], journal: &Journal<RealDisk>) -> Group {
        let mut group = Group::new(JournalExtent::EMPTY);
        let settings = PrimaryConfig::new(STREAM, vec![1 << 20]);
        let live = DirtyMap::new(settings.region_size, &settings.volumes).expect("geometry");
        let source = Source { dir, secondaries, settings, picked_up: true, live, completed: Seq(0) };
        source.fill(&mut group, journal).expect("members");
        group
    }

    #[test]
    fn an_address_makes_a_name() {
        assert_eq!(Secondary::at("10.0.0.2:7788").name, "10.0.0.2-7788");
        assert_eq!(Secondary::at("[::1]:7788").name, "--1--7788".trim_start_matches('-'));
    }

    #[test]
    fn what_a_single_secondary_left_goes_to_the_first() {
        let dir = tempfile::tempdir().expect("temporary directory");
        save(dir.path(), "x");
        fs::rename(DirtyFile::of(dir.path(), "x").path(), dir.path().join(SINGLE_FILE)).expect("rename");
        let mut journal = open(dir.path());
        journal.set_cursor(SINGLE, 0).expect("cursor");
        let secondaries = all(&["a", "b"]);
        settle(dir.path(), &secondaries, &[], &mut journal, true).expect("taken over");
        assert_eq!((journal.cursor("a"), journal.cursor(SINGLE)), (Some(0), None));
        assert_eq!(saved_names(dir.path()).expect("names"), ["a"]);
        let group = fill(dir.path(), &secondaries, &journal);
        let dirty: Vec<u64> = group.members().iter().map(|member| member.engine().dirty().bytes()).collect();
        assert_eq!(dirty, [0, 1 << 20], "of the second nothing is known");
    }

    #[test]
    fn state_that_nobody_names_is_not_dropped_by_itself() {
        let dir = tempfile::tempdir().expect("temporary directory");
        ["a", "b"].into_iter().for_each(|name| save(dir.path(), name));
        let mut journal = open(dir.path());
        ["a", "b"].into_iter().for_each(|name| journal.set_cursor(name, 0).expect("cursor"));
        let error = settle(dir.path(), &all(&["a"]), &[], &mut journal, true).expect_err("b is not named").to_string();
        assert!(error.contains("name=b") && error.contains("--forget b"), "{error}");
        settle(dir.path(), &all(&["a"]), &["b".to_owned()], &mut journal, true).expect("given up");
        assert_eq!((journal.cursor("a"), journal.cursor("b")), (Some(0), None));
        // A stream that begins anew: nothing of the old one is of use.
        settle(dir.path(), &all(&["c"]), &[], &mut journal, false).expect("new stream");
        assert!(saved_names(dir.path()).expect("names").is_empty());
    }
}
