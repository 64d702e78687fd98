//! What is said about SCSI targets: flags of `standby` and `replay` and keys of the former's section, read by the same rules.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use replayer::scsi::identity::Mapping;
use replayer::target::{ScsiSettings, TimeoutError, TimeoutFor, Timeouts, opaque_word};
use replication::errors::{Budget, Limit, OpaqueRule};
use serde::de::{Deserialize, Deserializer, Error as _};

use crate::exit::{Done, Exit, Failure};
use crate::units::{NotATime, Time};

/// Heading of these flags in the help.
pub(crate) const SCSI_TARGETS: &str = "SCSI targets (/dev/sgN, /dev/bsg/H:C:T:L, sg:/dev/sdX)";

/// Most attempts of one class, and the longest time of one: a month.
const MOST_ATTEMPTS: u32 = 1_000_000;
const MOST_TIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// Flags about SCSI targets; what is absent comes from the configuration file or the defaults.
#[derive(Debug, Default, Args)]
pub(crate) struct ScsiArgs {
    /// How a volume is put onto its SCSI target: blocks added to each address, the LUN it stands for; never other blocks
    #[arg(long = "map", value_name = "NAME:lba=N,lun=N")]
    pub(crate) maps: Vec<MapArg>,
    /// What holds for all of them.
    #[command(flatten)]
    pub(crate) rules: ScsiRules,
}

/// Flags about SCSI targets that hold for every volume.
#[derive(Debug, Default, Args)]
pub(crate) struct ScsiRules {
    /// What becomes of SCSI commands that are in no table, such as vendors': stop, reread (everything), ignore or issue
    /// [default: stop]
    #[arg(long, value_name = "RULE")]
    pub(crate) opaque: Option<OpaqueArg>,
    /// Make blocks that the primary cannot read unreadable on SCSI targets (WRITE LONG), until they are written again
    #[arg(long)]
    pub(crate) reproduce_unreadable: bool,
    /// Retries of a class of answers on SCSI targets, at most so many and for so long: busy=500 or busy=500/10m
    #[arg(long = "retries", value_name = "CLASS=N[/TIME]")]
    pub(crate) retries: Vec<RetryArg>,
    /// Time-out of SCSI commands, by operation code or class: 0x93=30m or blocks=20m
    #[arg(long = "scsi-timeout", value_name = "OPCODE=TIME")]
    pub(crate) timeouts: Vec<TimeoutArg>,
}

impl ScsiArgs {
    /// What they come to.
    pub(crate) fn settings(&self) -> Done<ScsiSettings> {
        self.rules.settings(&self.maps)
    }
}

impl ScsiRules {
    /// What they come to, with these mappings.
    pub(crate) fn settings(&self, maps: &[MapArg]) -> Done<ScsiSettings> {
        let mut settings = ScsiSettings::default();
        for MapArg { name, mapping } in maps {
            if settings.mappings.insert(name.clone(), *mapping).is_some() {
                let text = format!("volume {name} is mapped twice: write NAME:lba=N,lun=N once for each");
                return Err(Failure::text(Exit::Usage, text));
            }
        }
        let policy = &mut settings.policy;
        policy.opaque = self.opaque.map_or(policy.opaque, |rule| rule.0);
        policy.reproduce_unreadable = self.reproduce_unreadable;
        for RetryArg { class, attempts, time } in &self.retries {
            let time = time.unwrap_or(policy.budgets.limit(*class).time);
            policy.budgets = policy.budgets.with_limit(*class, Limit { attempts: *attempts, time });
        }
        for TimeoutArg { what, time } in &self.timeouts {
            settings.timeouts.set(*what, *time)?;
        }
        Ok(settings)
    }
}

/// `NAME:lba=N,lun=N`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MapArg {
    name: String,
    mapping: Mapping,
}

impl FromStr for MapArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A name may hold a colon, a mapping never does.
        match text.rsplit_once(':') {
            Some((name, mapping)) if !name.is_empty() => {
                let mapping = mapping.parse::<Mapping>().map_err(|error| error.to_string())?;
                Ok(Self { name: name.to_owned(), mapping })
            }
            _ => Err(format!("{text:?} is not NAME:lba=N,lun=N, such as data:lba=2048")),
        }
    }
}

/// A rule for commands that are in no table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OpaqueArg(OpaqueRule);

impl FromStr for OpaqueArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rules = [OpaqueRule::Stop, OpaqueRule::ReRead, OpaqueRule::Ignore, OpaqueRule::Issue];
        let found = rules.into_iter().find(|rule| opaque_word(*rule) == text);
        found.map(Self).ok_or_else(|| format!("{text:?} is no rule: use stop, reread, ignore or issue"))
    }
}

/// `CLASS=N` or `CLASS=N/TIME`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RetryArg {
    class: Budget,
    attempts: u32,
    time: Option<Duration>,
}

/// The name of a class as one word.
fn class_word(class: Budget) -> String {
    class.name().replace(' ', "-")
}

impl FromStr for RetryArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, limit) = text.split_once('=').ok_or_else(|| format!("{text:?} is not CLASS=N or CLASS=N/TIME"))?;
        let class = Budget::ALL.iter().copied().find(|class| class_word(*class) == name).ok_or_else(|| {
            let words: Vec<_> = Budget::ALL.iter().copied().map(class_word).collect();
            format!("{name:?} is no class of retries: use {}", words.join(", "))
        })?;
        let (attempts, time) = limit.split_once('/').map_or((limit, None), |(attempts, time)| (attempts, Some(time)));
        let bad = || format!("{attempts:?} is no number of retries: write 0 to {MOST_ATTEMPTS}");
        let attempts = attempts.parse().ok().filter(|attempts| *attempts <= MOST_ATTEMPTS).ok_or_else(bad)?;
        let time = time.map(parse_time).transpose()?;
        match time.filter(|time| *time > MOST_TIME) {
            Some(_) => Err(format!("{text:?} retries for longer than 30 days: write less")),
            None => Ok(Self { class, attempts, time }),
        }
    }
}

fn parse_time(text: &str) -> Result<Duration, String> {
    text.parse::<Time>().map(|time| time.0).map_err(|error: NotATime| error.to_string())
}

/// `OPCODE=TIME` or `CLASS=TIME`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TimeoutArg {
    what: TimeoutFor,
    time: Duration,
}

impl FromStr for TimeoutArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words = |error: TimeoutError| error.to_string();
        let (what, time) =
            text.split_once('=').ok_or_else(|| format!("{text:?} is not OPCODE=TIME, such as 0x93=30m"))?;
        let (what, time) = (what.parse().map_err(words)?, parse_time(time)?);
        // Tried out here, where the message names the flag or the line.
        Timeouts::default().set(what, time).map_err(words)?;
        Ok(Self { what, time })
    }
}

/// In the configuration file they are texts of the same form.
macro_rules! read_as_text {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
                String::deserialize(source)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

read_as_text!(MapArg, OpaqueArg, RetryArg, TimeoutArg);

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: FromStr<Err = String> + std::fmt::Debug>(text: &str) -> String {
        text.parse::<T>().unwrap_err()
    }

    #[test]
    fn a_mapping_names_its_volume() {
        let map = "a:b:lba=+2048,lun=3".parse::<MapArg>().unwrap();
        assert_eq!((map.name.as_str(), map.mapping), ("a:b", Mapping { lba_offset: 2048, lun: Some(3) }));
        assert!(refused::<MapArg>("lba=1").contains("NAME:lba=N,lun=N"));
        assert!(refused::<MapArg>("a:block=512").contains("another size cannot be mapped"));
        assert!(refused::<MapArg>("a:size=1").contains("no part of a mapping"));
        assert!(refused::<MapArg>("a:lba=far").contains("no number for lba"));
        assert!(refused::<MapArg>("a:").contains("says nothing"));
    }

    #[test]
    fn rules_limits_and_times_are_checked() {
        assert!(refused::<OpaqueArg>("skip").contains("stop, reread, ignore or issue"));
        assert!(refused::<RetryArg>("busy").contains("CLASS=N"));
        assert!(refused::<RetryArg>("bussy=1").contains("attention, busy, conflict"));
        assert!(refused::<RetryArg>("busy=-1").contains("no number of retries"));
        assert!(refused::<RetryArg>("busy=1/soon").contains("no time"));
        assert!(refused::<RetryArg>("busy=1/1000h").contains("30 days"));
        assert!(refused::<TimeoutArg>("0x93").contains("OPCODE=TIME"));
        assert!(refused::<TimeoutArg>("slow=1m").contains("usual, flush"));
        assert!(refused::<TimeoutArg>("0x93=1s").contains("between 7 s"));
    }

    #[test]
    fn flags_become_settings() {
        let rules = ScsiRules {
            opaque: Some("reread".parse().unwrap()),
            reproduce_unreadable: true,
            retries: vec!["long-operation=7/2h".parse().unwrap(), "busy=9".parse().unwrap()],
            timeouts: vec!["0x35=4m".parse().unwrap()],
        };
        let args = ScsiArgs { maps: vec!["a:lba=8".parse().unwrap()], rules };
        let settings = args.settings().unwrap();
        assert_eq!((settings.mapping("a").lba_offset, settings.mapping("b")), (8, Mapping::default()));
        assert_eq!((settings.policy.opaque, settings.policy.reproduce_unreadable), (OpaqueRule::ReRead, true));
        let limit = |class| settings.policy.budgets.limit(class);
        assert_eq!(limit(Budget::LongOperation), Limit { attempts: 7, time: Duration::from_secs(7200) });
        assert_eq!(limit(Budget::Busy), Limit { attempts: 9, time: Duration::from_secs(120) });
        assert_eq!(settings.timeouts.of(&[0x35; 10], formats::scsi::DeviceType::DISK), Duration::from_secs(240));
        let twice = ScsiArgs { maps: vec!["a:lba=8".parse().unwrap(); 2], ..ScsiArgs::default() };
        assert!(twice.settings().unwrap_err().to_string().contains("mapped twice"));
    }
}
