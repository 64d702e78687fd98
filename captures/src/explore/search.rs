//! Looks at the states, several at a time, and finds the first that is not sound.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::bench::{Bench, Common, Fingerprint, HandOut};
use super::check::{Check, Checked};
use super::log::Log;
use super::minimise::minimise;
use super::plan::{Cut, Draws, Fate, Fates, Kind, Point, Random, points};
use super::report::{Failing, Report, commands, failing};
use super::{ExploreError, Request, Stage, Stop, Watch};
use crate::image::{Aside, Base, ImageError};
use crate::meta::Device;
use crate::moment::{Before, Moment};
use crate::rebuild::{Follower, LISTED_HOLES};
use crate::series::Series;

/// Which state: its cut, and its place among the states of that.
type StateId = (usize, usize);

/// Explores.
///
/// # Errors
/// Why nothing can be said. A failing state is none: it is in the report.
pub fn explore(request: &Request<'_>, watch: &Watch<'_>, stop: &Stop) -> Result<Report, ExploreError> {
    let started = Instant::now();
    let inputs = request.base.with(request.files);
    let output = request.output.map(|output| Aside::new(output, request.force, &inputs)).transpose()?;
    let folder = tempfile::Builder::new().prefix("blkecho-explore-").tempdir_in(request.folder);
    let folder = folder.map_err(ExploreError::Scratch)?;
    let (common, mut report, first) = read(request, folder.path().to_owned(), watch, stop)?;
    let points = cuts(&common.log, first, request.every);
    if points.is_empty() {
        return Err(ExploreError::Nothing { from: request.from.clone(), until: request.until.clone() });
    }
    let search = Search::new(request, &common, points, watch, stop);
    search.begin()?;
    search.run()?;
    search.tell(&mut report);
    if let Some((id, checked)) = search.first_failing() {
        report.failing = Some(search.explain(id, &checked, output, &mut report.checks)?);
    }
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// The cuts from `first` on; the first one whole, for the check must pass there.
fn cuts(log: &Log, first: u64, every: Option<u64>) -> Vec<Point> {
    let behind = points(log, every).into_iter().filter(|point| point.seq > first);
    let behind: Vec<Point> = behind.collect();
    if behind.is_empty() {
        return behind;
    }
    std::iter::once(Point { seq: first, only_whole: true }).chain(behind).collect()
}

/// Reads the capture; answers the completion after which exploring begins, too.
fn read(
    request: &Request<'_>,
    folder: std::path::PathBuf,
    watch: &Watch<'_>,
    stop: &Stop,
) -> Result<(Arc<Common>, Report, u64), ExploreError> {
    let mut series = Series::open(request.files)?;
    let device = series.volume(request.volume, request.base.size())?;
    request.base.check_size(&device.name, device.size)?;
    let first = first_seq(request)?;
    let mut follower = Follower::new(&series, &device, &request.until)?;
    let scratch = tempfile::tempfile_in(&folder).map_err(ExploreError::Scratch)?;
    let mut reading = |done, total| {
        watch(Stage::Reading, done, total);
        !stop.load(Ordering::Relaxed)
    };
    let log = Log::read(&mut series, &mut follower, request.cache, scratch, &mut reading)?;
    follower.end()?;
    follower.refuse_holes(request.allow_holes)?;
    let report = begun(request, &device, &log, &follower);
    let base = reopened(&request.base)?;
    let (size, writes) = (device.size, AtomicBool::new(false));
    Ok((Arc::new(Common { log, base, size, folder, writes }), report, first))
}

/// The last completion before the first moment.
fn first_seq(request: &Request<'_>) -> Result<u64, ExploreError> {
    if let Moment::Seq(seq) = request.from {
        return Ok(seq.0);
    }
    let mut series = Series::open(request.files)?;
    let mut before = Before::new(&request.from, series.section().started_ns);
    let mut last = 0;
    while let Some(item) = series.next_item()? {
        if before.takes(&item)
            && let crate::Item::Entry(entry) = &item
            && let formats::Entry::Record(record) = &entry.header.entry
        {
            last = record.seq.0;
        }
    }
    before.reached()?;
    Ok(last)
}

fn reopened(base: &Base) -> Result<Base, ImageError> {
    match base {
        Base::File { path, .. } => Base::open(path),
        Base::Blank => Ok(Base::Blank),
    }
}

fn begun(request: &Request<'_>, device: &Device, log: &Log, follower: &Follower) -> Report {
    Report {
        volume: device.name.clone(),
        commands: log.steps.len() as u64,
        barriers: log.barriers.len() as u64,
        cuts: 0,
        states: 0,
        equal: 0,
        checks: 0,
        handed_out: "itself",
        seed: request.seed,
        failing_states: 0,
        failing: None,
        holes: follower.holes.list(LISTED_HOLES),
        ended_in_order: follower.ended_in_order(),
        seconds: 0.0,
    }
}

/// What is known of states with the same content.
#[derive(Debug)]
struct Known {
    /// The first of them.
    first: StateId,
    /// What the check said, if it failed.
    failed: Option<Checked>,
}

#[derive(Debug, Default)]
struct Progress {
    known: HashMap<Fingerprint, Known>,
    states: u64,
    equal: u64,
    checks: u64,
    /// The first failing one so far: nothing behind it needs to be looked at.
    limit: Option<StateId>,
    error: Option<ExploreError>,
    hand_out: Option<HandOut>,
}

/// What the workers share.
struct Search<'a> {
    request: &'a Request<'a>,
    common: &'a Arc<Common>,
    points: Vec<Point>,
    next: AtomicUsize,
    progress: Mutex<Progress>,
    watch: &'a Watch<'a>,
    stop: &'a Stop,
}

impl<'a> Search<'a> {
    fn new(
        request: &'a Request<'a>,
        common: &'a Arc<Common>,
        points: Vec<Point>,
        watch: &'a Watch<'a>,
        stop: &'a Stop,
    ) -> Self {
        let (next, progress) = (AtomicUsize::new(1), Mutex::default());
        Self { request, common, points, next, progress, watch, stop }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self, at: usize) -> Cut {
        Cut::new(&self.common.log, self.points[at], self.request.window)
    }

    fn states(&self, cut: &Cut) -> Vec<Fates> {
        let mut random = Random::new(self.request.seed, cut.point.seq);
        let draws = Draws { most: self.request.samples, tear: self.request.tear };
        cut.states(&self.common.log, draws, &mut random)
    }

    /// The state at the beginning must pass.
    fn begin(&self) -> Result<(), ExploreError> {
        let mut bench = Bench::new(self.common, 0)?;
        let cut = self.cut(0);
        let whole = cut.whole();
        match self.look(&mut bench, &cut, &whole, (0, 0))? {
            None => Ok(()),
            Some(Checked { verdict, output }) => {
                let at = match cut.point.seq {
                    0 => "the base".to_owned(),
                    seq => format!("seq {seq}"),
                };
                Err(ExploreError::FailsAtStart { at, verdict, output })
            }
        }
    }

    fn run(&self) -> Result<(), ExploreError> {
        let jobs = self.request.jobs.max(1);
        std::thread::scope(|scope| {
            for number in 0..jobs {
                let worker = std::thread::Builder::new().name(format!("explore-{number}"));
                worker.spawn_scoped(scope, move || self.work(number)).map_err(ExploreError::Thread)?;
            }
            Ok::<(), ExploreError>(())
        })?;
        self.progress().error.take().map_or(Ok(()), Err)
    }

    fn work(&self, number: usize) {
        if let Err(error) = Bench::new(self.common, number).map_err(Into::into).and_then(|bench| self.cuts(bench)) {
            self.progress().error.get_or_insert(error);
            self.next.store(self.points.len(), Ordering::Relaxed);
        }
    }

    fn cuts(&self, mut bench: Bench) -> Result<(), ExploreError> {
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let over = self.progress().limit.is_some_and(|(limit, _)| at > limit);
            if at >= self.points.len() || over || self.stop.load(Ordering::Relaxed) {
                self.progress().hand_out = Some(bench.hand_out());
                return if self.stop.load(Ordering::Relaxed) { Err(ImageError::Interrupted.into()) } else { Ok(()) };
            }
            let cut = self.cut(at);
            for (place, fates) in self.states(&cut).iter().enumerate() {
                if self.look(&mut bench, &cut, fates, (at, place))?.is_some() && !self.request.keep_going {
                    self.found((at, place));
                    break;
                }
            }
            (self.watch)(Stage::Checking, at as u64, self.points.len() as u64);
        }
    }

    fn found(&self, id: StateId) {
        let mut progress = self.progress();
        progress.limit = Some(progress.limit.map_or(id, |limit| limit.min(id)));
    }

    /// Checks one state unless an equal one was; answers what the check said if it failed.
    fn look(&self, bench: &mut Bench, cut: &Cut, fates: &[Fate], id: StateId) -> Result<Option<Checked>, ExploreError> {
        let fingerprint = bench.set(cut, fates)?;
        let checked = match self.is_new(fingerprint, id) {
            Err(known) => known,
            Ok(()) => {
                let checked = bench.check(&self.request.check, self.stop)?;
                self.learn(fingerprint, checked)
            }
        };
        bench.take_back()?;
        Ok(checked)
    }

    /// Whether no state of this content was looked at; otherwise what is known of it to fail.
    fn is_new(&self, fingerprint: Fingerprint, id: StateId) -> Result<(), Option<Checked>> {
        let mut progress = self.progress();
        progress.states += 1;
        let known = match progress.known.entry(fingerprint) {
            Slot::Vacant(slot) => {
                slot.insert(Known { first: id, failed: None });
                return Ok(());
            }
            Slot::Occupied(slot) => slot.into_mut(),
        };
        known.first = known.first.min(id);
        let failed = known.failed.clone();
        progress.equal += 1;
        Err(failed)
    }

    fn learn(&self, fingerprint: Fingerprint, checked: Checked) -> Option<Checked> {
        let mut progress = self.progress();
        progress.checks += 1;
        let failed = (!checked.verdict.passed()).then_some(checked);
        if let Some(known) = progress.known.get_mut(&fingerprint) {
            known.failed.clone_from(&failed);
        }
        failed
    }

    /// The first state that failed, in the order of cuts, and what the check said.
    fn first_failing(&self) -> Option<(StateId, Checked)> {
        let progress = self.progress();
        let failed = progress.known.values().filter_map(|known| Some((known.first, known.failed.clone()?)));
        failed.min_by_key(|(first, _)| *first)
    }

    fn tell(&self, report: &mut Report) {
        let progress = self.progress();
        report.cuts = self.points.len() as u64;
        (report.states, report.equal, report.checks) = (progress.states, progress.equal, progress.checks);
        report.failing_states = progress.known.values().filter(|known| known.failed.is_some()).count() as u64;
        report.handed_out = match progress.hand_out {
            Some(HandOut::Clone) => "clone",
            Some(HandOut::Copy) => "copy",
            Some(HandOut::Itself) | None => "itself",
        };
    }

    /// Finds the fewest commands that it takes, and keeps an image.
    fn explain(
        &self,
        id: StateId,
        checked: &Checked,
        output: Option<Aside>,
        checks: &mut u64,
    ) -> Result<Failing, ExploreError> {
        let cut = self.cut(id.0);
        let fates = self.states(&cut).swap_remove(id.1);
        let mut told = failing(&self.common.log, &cut, checked);
        let mut less = Less {
            search: self,
            bench: Bench::new(self.common, self.request.jobs)?,
            cut: &cut,
            spent: 0,
            verdicts: HashMap::new(),
        };
        let fewest = less.fewest(&fates)?;
        *checks += less.spent as u64;
        told.minimal = less.spent < self.request.minimise;
        told.difference = commands(&self.common.log, &cut, &fewest.fates, &fewest.difference);
        told.needed = commands(&self.common.log, &cut, &fewest.fates, &fewest.needed);
        if let Some(aside) = output {
            less.bench.set(&cut, &fewest.fates)?;
            less.bench.copy_to(aside.file()?, aside.path())?;
            aside.publish()?;
            told.image = self.request.output.map(ToOwned::to_owned);
        }
        Ok(told)
    }
}

/// The fewest commands of a failing state.
struct Fewest {
    fates: Fates,
    /// Places among the undecided ones that differ from the whole state.
    difference: Vec<usize>,
    /// Places of others that must be on the disk.
    needed: Vec<usize>,
}

/// Looks for less.
struct Less<'a> {
    search: &'a Search<'a>,
    bench: Bench,
    cut: &'a Cut,
    spent: usize,
    verdicts: HashMap<Fingerprint, bool>,
}

impl Less<'_> {
    /// First as few differences from the state in which all that completed is on the disk; then, with these, as few other
    /// commands on the disk as it takes.
    fn fewest(&mut self, fates: &[Fate]) -> Result<Fewest, ExploreError> {
        let whole = self.cut.whole();
        let differs: Vec<usize> = (0..fates.len()).filter(|at| fates[*at] != whole[*at]).collect();
        let chosen = |from: &[Fate], to: &[Fate], places: &[usize]| {
            let mut chosen = from.to_vec();
            places.iter().for_each(|at| chosen[*at] = to[*at]);
            chosen
        };
        let difference = minimise(differs, &mut |places| self.fails(&chosen(&whole, fates, places)))?;
        let with = chosen(&whole, fates, &difference);
        let kinds: Vec<Kind> = self.cut.open().map(|tail| tail.kind).collect();
        let is_other = |at: &usize| kinds[*at] == Kind::Completed && !difference.contains(at);
        let others: Vec<usize> = (0..with.len()).filter(is_other).collect();
        let mut bare = with.clone();
        others.iter().for_each(|at| bare[*at] = Fate::Lost);
        let needed = minimise(others, &mut |places| self.fails(&chosen(&bare, &with, places)))?;
        let fates = chosen(&bare, &with, &needed);
        Ok(Fewest { fates, difference, needed })
    }

    /// Whether a state fails; nothing when no more checks may be spent.
    fn fails(&mut self, fates: &[Fate]) -> Result<Option<bool>, ExploreError> {
        let fingerprint = self.bench.set(self.cut, fates)?;
        let verdict = match self.verdicts.get(&fingerprint) {
            Some(fails) => Some(*fails),
            None if self.spent >= self.search.request.minimise => None,
            None => Some(self.check(fingerprint)?),
        };
        self.bench.take_back()?;
        Ok(verdict)
    }

    fn check(&mut self, fingerprint: Fingerprint) -> Result<bool, ExploreError> {
        let check: &Check = &self.search.request.check;
        let fails = !self.bench.check(check, self.search.stop)?.verdict.passed();
        self.spent += 1;
        self.verdicts.insert(fingerprint, fails);
        (self.search.watch)(Stage::Minimising, self.spent as u64, self.search.request.minimise as u64);
        Ok(fails)
    }
}
