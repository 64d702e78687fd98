//! The configuration file: the same keys as the flags of `attach` and `standby`. Flags win.
//!
//! ```toml
//! [attach]
//! devices = ["/dev/sdb"]
//! to = "10.0.0.2:7788"      # or of several: ["10.0.0.2:7788", "10.0.0.3:7788,name=berlin"]
//! insecure = true
//! journal-size = "4G"
//! filter = { lba = ["0-2097151"] }
//!
//! [standby]
//! listen = "0.0.0.0:7788"
//! volumes = ["sdb=/dev/sdc"]
//! maps = ["sdb:lba=2048"]
//! retries = ["busy=500/10m"]
//! ```
//!
//! Unknown keys and bad values are errors that name their line. `--overwrite`, `--assume-identical`, `--partial`, `--forget` are
//! words for one occasion and have no keys.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use thiserror::Error;

use crate::args::{Attach, GroupName, Standby, ToArg, VolumeArg};
use crate::filter::FilterArgs;
use crate::scsi::{MapArg, OpaqueArg, RetryArg, TimeoutArg};
use crate::units::{Size, Sync};

/// Where it is looked for when no other is named.
pub(crate) const DEFAULT: &str = "/etc/blkecho/blkecho.toml";
/// Largest file read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Why a configuration file is not used.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {}: {source}; check --config", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It is not what is expected. The text names line and column.
    #[error("{}: {source}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        source: Box<toml::de::Error>,
    },
    /// It is too large to be one.
    #[error("{} has more than {MAX_BYTES} bytes: that is no configuration file", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
}

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Config {
    attach: AttachSection,
    standby: StandbySection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct AttachSection {
    devices: Vec<PathBuf>,
    names: Vec<String>,
    #[serde(deserialize_with = "one_or_more")]
    to: Vec<ToArg>,
    group: Option<GroupName>,
    dir: Option<PathBuf>,
    journal_size: Option<Size>,
    ring_size: Option<Size>,
    region_size: Option<Size>,
    layer: Option<agent::Layer>,
    sync: Option<Sync>,
    insecure: bool,
    control: Option<PathBuf>,
    detach_on_exit: bool,
    filter: FilterArgs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct StandbySection {
    listen: Option<String>,
    volumes: Vec<VolumeArg>,
    group: Option<GroupName>,
    dir: Option<PathBuf>,
    journal_size: Option<Size>,
    depth: Option<usize>,
    serial: bool,
    insecure: bool,
    control: Option<PathBuf>,
    maps: Vec<MapArg>,
    opaque: Option<OpaqueArg>,
    reproduce_unreadable: bool,
    retries: Vec<RetryArg>,
    scsi_timeouts: Vec<TimeoutArg>,
}

impl<'de> Deserialize<'de> for GroupName {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        String::deserialize(source)?.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for ToArg {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        String::deserialize(source)?.parse().map_err(D::Error::custom)
    }
}

/// A text, or a list of texts.
fn one_or_more<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<ToArg>, D::Error> {
    struct OneOrMore;

    impl<'de> Visitor<'de> for OneOrMore {
        type Value = Vec<ToArg>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("HOST:PORT[,name=NAME], or a list of them")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<ToArg>, E> {
            text.parse().map(|one| vec![one]).map_err(E::custom)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<ToArg>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(list))
        }
    }

    source.deserialize_any(OneOrMore)
}

impl<'de> Deserialize<'de> for VolumeArg {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        String::deserialize(source)?.parse().map_err(D::Error::custom)
    }
}

impl Config {
    /// Reads the file that was named, or the default one if it exists.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub(crate) fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        let path = named.unwrap_or(Path::new(DEFAULT));
        match fs::metadata(path) {
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Ok(meta) if meta.len() > MAX_BYTES => return Err(ConfigError::TooLarge { path: path.to_owned() }),
            _ => {}
        }
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|source| ConfigError::Content { path: path.to_owned(), source: Box::new(source) })
    }

    /// Fills what the command line left open.
    pub(crate) fn fill_attach(self, args: &mut Attach) {
        let file = self.attach;
        // Names belong to devices: those of the file hold only for the devices of the file.
        if args.devices.is_empty() {
            args.devices = file.devices;
            or_these(&mut args.names, file.names);
        }
        or_these(&mut args.to, file.to);
        or_this(&mut args.group, file.group);
        or_this(&mut args.dir, file.dir);
        or_this(&mut args.journal_size, file.journal_size);
        or_this(&mut args.ring_size, file.ring_size);
        or_this(&mut args.region_size, file.region_size);
        or_this(&mut args.layer, file.layer);
        or_this(&mut args.sync, file.sync);
        or_this(&mut args.control, file.control);
        args.insecure |= file.insecure;
        args.detach_on_exit |= file.detach_on_exit;
        args.filter.fill(file.filter);
    }

    /// Fills what the command line left open.
    pub(crate) fn fill_standby(self, args: &mut Standby) {
        let file = self.standby;
        or_these(&mut args.volumes, file.volumes);
        or_this(&mut args.listen, file.listen);
        or_this(&mut args.group, file.group);
        or_this(&mut args.dir, file.dir);
        or_this(&mut args.journal_size, file.journal_size);
        or_this(&mut args.depth, file.depth);
        or_this(&mut args.control, file.control);
        or_these(&mut args.scsi.maps, file.maps);
        or_this(&mut args.scsi.rules.opaque, file.opaque);
        or_these(&mut args.scsi.rules.retries, file.retries);
        or_these(&mut args.scsi.rules.timeouts, file.scsi_timeouts);
        args.scsi.rules.reproduce_unreadable |= file.reproduce_unreadable;
        args.serial |= file.serial;
        args.insecure |= file.insecure;
    }
}

fn or_this<T>(flag: &mut Option<T>, file: Option<T>) {
    if flag.is_none() {
        *flag = file;
    }
}

fn or_these<T>(flags: &mut Vec<T>, file: Vec<T>) {
    if flags.is_empty() {
        *flags = file;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::{ScsiArgs, ScsiRules};

    fn load(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.toml");
        fs::write(&path, text).unwrap();
        Config::load(Some(&path))
    }

    #[test]
    fn flags_win() {
        let text =
            "[attach]\ndevices = ['/dev/a', '/dev/b']\nnames = ['x', 'y']\nto = 'h:1'\nring-size = '1M'\nsync = 'each'";
        let mut args = Attach { to: vec!["other:2".parse().unwrap()], ..Attach::default() };
        load(text).unwrap().fill_attach(&mut args);
        assert_eq!((args.to[0].0.address.as_str(), args.to.len(), args.names.len()), ("other:2", 1, 2));
        assert_eq!(args.ring_size, Some(Size(1 << 20)));
        let mut args = Attach { devices: vec!["/dev/c".into()], ..Attach::default() };
        load(text).unwrap().fill_attach(&mut args);
        assert_eq!((args.devices.len(), args.names.len()), (1, 0));
    }

    #[test]
    fn several_standbys_are_a_list() {
        let mut args = Attach::default();
        load("[attach]\nto = ['h:1', 'i:2,name=berlin']").unwrap().fill_attach(&mut args);
        let names: Vec<_> = args.to.iter().map(|to| to.0.name.as_str()).collect();
        assert_eq!(names, ["h-1", "berlin"]);
        let error = load("[attach]\n\nto = ['h:1,nam=x']").unwrap_err().to_string();
        assert!(error.contains("line 3") && error.contains("name=NAME"), "{error}");
        let error = load("[attach]\nto = 5").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("or a list of them"), "{error}");
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let error = |text: &str| load(text).unwrap_err().to_string();
        let text = error("[attach]\n\nring = 5\n");
        assert!(text.contains("line 3") && text.contains("unknown field `ring`"), "{text}");
        let text = error("[standby]\njournal-size = \"lots\"\n");
        assert!(text.contains("line 2") && text.contains("is no size"), "{text}");
        let text = error("[standby]\nvolumes = [\"a=/x\",\n \"b\"]\n");
        assert!(text.contains("line 2") && text.contains("NAME=DEV"), "{text}");
        assert!(error("[attach]\nassume-identical = true").contains("line 2"));
        for (line, word) in [
            ("maps = [\"a:block=512\"]", "another size cannot be mapped"),
            ("opaque = \"skip\"", "stop, reread, ignore or issue"),
            ("retries = [\"busy=x\"]", "no number of retries"),
            ("scsi-timeouts = [\"0x93=1s\"]", "between 7 s"),
            ("reproduce-unreadable = 1", "expected a boolean"),
        ] {
            let text = error(&format!("[standby]\n\n{line}\n"));
            assert!(text.contains("line 3") && text.contains(word), "{text}");
        }
    }

    #[test]
    fn a_named_file_must_exist_and_the_default_need_not() {
        assert!(matches!(Config::load(Some(Path::new("/none.toml"))), Err(ConfigError::Read { .. })));
        let mut args = Standby::default();
        Config::default().fill_standby(&mut args);
        assert!(args.listen.is_none());
    }

    #[test]
    fn scsi_targets_are_told_by_flags_or_keys() {
        let text = "[standby]\nmaps = ['a:lba=8']\nopaque = 'ignore'\nreproduce-unreadable = true\nretries = \
                    ['busy=9']\nscsi-timeouts = ['0x35=4m']";
        let mut args = Standby {
            scsi: ScsiArgs {
                rules: ScsiRules { opaque: Some("issue".parse().unwrap()), ..Default::default() },
                ..Default::default()
            },
            ..Standby::default()
        };
        load(text).unwrap().fill_standby(&mut args);
        let (settings, words) = (args.scsi.settings().unwrap(), &args.scsi.rules);
        assert_eq!(settings.mapping("a").lba_offset, 8);
        assert_eq!(words.opaque, Some("issue".parse().unwrap()));
        assert!(settings.policy.reproduce_unreadable && words.retries.len() == 1 && words.timeouts.len() == 1);
    }
}
