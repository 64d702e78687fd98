//! Long loads of every kind on the device itself and under file systems; after each the standby must hold the same
//! bytes.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use comfy_table::{Table, presets};

use crate::interrupt;
use crate::rig::{Filesystem, Mix, Mount, Plan, Random, Rig, Surface};

/// xfs wants at least 300 MiB.
const DISK_BYTES: u64 = 320 << 20;
const JOURNAL: &str = "256M";
/// The part of a disk that raw loads write to: small, so that ranges overlap.
const RAW_BYTES: u64 = 48 << 20;
const FILE_BYTES: u64 = 32 << 20;

/// What the loads go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Raw,
    On(Filesystem),
}

const PLACES: [Place; 3] = [Place::Raw, Place::On(Filesystem::Ext4), Place::On(Filesystem::Xfs)];

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::On(filesystem) => filesystem.name(),
        }
    }

    fn surface(self) -> Surface {
        match self {
            Self::Raw => Surface::Raw,
            Self::On(_) => Surface::File,
        }
    }
}

/// One load and what came of it.
struct Round {
    place: Place,
    mix: Mix,
    seconds: f64,
    lost: u64,
    result: Result<(), String>,
}

/// The task: every kind on every place once, then any until the time is over.
pub(crate) fn run(minutes: u64, seed: Option<u64>) -> Result<()> {
    let mut random = Random::announce(seed);
    let end = Instant::now() + Duration::from_secs(minutes * 60);
    let mut rig = Rig::new(Plan { bytes: DISK_BYTES, in_memory: false, journal: JOURNAL })?;
    rig.start()?;
    let mut rounds = Vec::new();
    for place in PLACES {
        for mix in Mix::every_kind(place.surface()) {
            rounds.push(round(&mut rig, place, mix, &mut random)?);
        }
    }
    while Instant::now() < end {
        let place = random.pick(&PLACES);
        let mix = Mix::any(&mut random, place.surface());
        rounds.push(round(&mut rig, place, mix, &mut random)?);
    }
    report(&rounds)
}

fn round(rig: &mut Rig, place: Place, mix: Mix, random: &mut Random) -> Result<Round> {
    interrupt::check()?;
    let started = Instant::now();
    let lost_before = rig.status()?.lost;
    match place {
        Place::Raw => mix.run(rig.primary().path(), RAW_BYTES, random.next() >> 32)?,
        Place::On(filesystem) => on_filesystem(rig, filesystem, &mix, random)?,
    }
    let result = rig.drain_and_compare()?.map_or(Ok(()), |difference| Err(difference.to_string()));
    let lost = rig.status()?.lost.saturating_sub(lost_before);
    let seconds = started.elapsed().as_secs_f64();
    let verdict = result.as_ref().err().map_or("identical", String::as_str);
    println!("{:5} {mix}: {seconds:.1} s, lost {lost}, {verdict}", place.name());
    Ok(Round { place, mix, seconds, lost, result })
}

fn on_filesystem(rig: &Rig, filesystem: Filesystem, mix: &Mix, random: &mut Random) -> Result<()> {
    let device = rig.primary().path();
    filesystem.make(device)?;
    let mount = Mount::new(filesystem, device, &rig.folder().join("mount"))?;
    let file = mount.folder().join("file");
    mix.run(&file, FILE_BYTES, random.next() >> 32)?;
    if random.between(0, 2) == 0 {
        small_files(mount.folder())?;
        std::fs::remove_file(&file)?;
        mount.trim()?;
    }
    mount.unmount()
}

/// Metadata: what fio does not write.
fn small_files(folder: &Path) -> Result<()> {
    for number in 0..200_usize {
        let folder = folder.join(format!("folder-{}", number % 10));
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(format!("file-{number}")), vec![number as u8; number * 37])?;
    }
    std::fs::remove_dir_all(folder.join("folder-3"))?;
    Ok(())
}

fn report(rounds: &[Round]) -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["place", "loads", "seconds", "lost", "differences"]);
    for place in PLACES {
        let of_place = || rounds.iter().filter(move |round| round.place == place);
        let seconds: f64 = of_place().map(|round| round.seconds).sum();
        let lost: u64 = of_place().map(|round| round.lost).sum();
        let differing = of_place().filter(|round| round.result.is_err()).count();
        let numbers =
            [of_place().count().to_string(), format!("{seconds:.0}"), lost.to_string(), differing.to_string()];
        table.add_row(std::iter::once(place.name().to_owned()).chain(numbers));
    }
    println!("\n{table}");
    let failed: Vec<String> = rounds.iter().filter_map(failure).collect();
    if !failed.is_empty() {
        bail!("the disks differed after:\n{}", failed.join("\n"));
    }
    println!("soak: {} loads, identical after each", rounds.len());
    Ok(())
}

fn failure(round: &Round) -> Option<String> {
    let difference = round.result.as_ref().err()?;
    Some(format!("{} {}: {difference}", round.place.name(), round.mix))
}
