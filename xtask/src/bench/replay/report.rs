//! Samples and what they come to: medians, and ratios to fio within each round.

use std::fmt;

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::bound::Bounds;
use crate::bench::figures::{median, sorted};

/// What replay is to reach of fio.
const GOAL: f64 = 0.9;
/// Name of the row of what the order allows.
const BOUND: &str = "what the order allows (model)";
/// How the names of runs without order end.
const UNORDERED: &str = ", unordered";

/// Name of the run of the same without order.
pub(crate) fn unordered(name: &str) -> String {
    format!("{name}{UNORDERED}")
}

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Runner {
    /// For the table.
    pub(crate) name: String,
    /// Writes in flight.
    pub(crate) depth: u32,
    /// Name of the fio runner of the same depth that it is measured by; none for that one itself.
    pub(crate) beside: Option<String>,
    /// Whether it is ours, and has a goal.
    pub(crate) is_replay: bool,
}

/// One run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sample {
    pub(crate) iops: f64,
    /// CPU time of the process for each write, in microseconds.
    pub(crate) cpu_micros: f64,
    /// Standard deviation of the times that writes took, in parts of their mean; zero where nobody tells.
    pub(crate) variation: f64,
}

/// Samples of one runner, one per round.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) runner: Runner,
    pub(crate) samples: Vec<Sample>,
}

/// Runs on one device.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    /// Which device, and what was written.
    pub(crate) title: String,
    pub(crate) series: Vec<Series>,
    /// What the order of what is written leaves of the throughput, by kind of device.
    pub(crate) bounds: Bounds,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) sections: Vec<Section>,
}

/// Ratios within the rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ratio {
    median: f64,
    lowest: f64,
    highest: f64,
}

impl Section {
    /// A section without samples yet.
    pub(crate) fn new(title: String, runners: impl IntoIterator<Item = Runner>) -> Self {
        let series = runners.into_iter().map(|runner| Series { runner, samples: Vec::new() }).collect();
        Self { title, series, bounds: Bounds::default() }
    }

    /// Adds a sample of a runner, which may be a new one.
    pub(crate) fn add(&mut self, runner: Runner, sample: Sample) {
        match self.series.iter_mut().find(|series| series.runner == runner) {
            Some(series) => series.samples.push(sample),
            None => self.series.push(Series { runner, samples: vec![sample] }),
        }
    }

    /// Adds the row of what the order allows: for each round by what fio showed the device to be in that round.
    pub(crate) fn add_bound(&mut self) {
        let fio = |depth_is_one: bool| {
            let is_base = |runner: &Runner| runner.beside.is_none() && (runner.depth == 1) == depth_is_one;
            self.series.iter().find(|series| is_base(&series.runner))
        };
        let (Some(deep), Some(serial)) = (fio(false), fio(true)) else { return };
        let allowed = |(deep, serial): (&Sample, &Sample)| {
            let ratio = self.bounds.ratio(deep.iops / serial.iops, serial.variation)?;
            Some(Sample { iops: deep.iops * ratio, ..Sample::default() })
        };
        let samples: Option<Vec<Sample>> = deep.samples.iter().zip(&serial.samples).map(allowed).collect();
        let beside = Some(deep.runner.name.clone());
        let runner = Runner { name: BOUND.to_owned(), depth: deep.runner.depth, beside, is_replay: false };
        self.series.extend(samples.map(|samples| Series { runner, samples }));
    }

    /// For every replay with a goal: whether it is reached, and if not, by how much each thing that it is bound by.
    fn verdicts(&self) -> Vec<String> {
        let replays = self.series.iter().filter(|series| series.has_goal());
        replays.filter_map(|series| self.verdict(series)).collect()
    }

    fn verdict(&self, series: &Series) -> Option<String> {
        let (name, ratio) = (&series.runner.name, self.ratio(series)?.median);
        if ratio >= GOAL {
            return Some(format!("{name}: {ratio:.2} of fio, goal reached"));
        }
        let named = |name: &str| self.series.iter().find(|other| other.runner.name == name);
        let part = |other: Option<&Series>| {
            let ratio = other.and_then(|other| self.ratio(other));
            ratio.map_or_else(|| "not measured".to_owned(), |ratio| format!("{:.2}", ratio.median))
        };
        let beside = named(series.runner.beside.as_deref()?)?;
        let cpu = |series: &Series| series.median(|sample| sample.cpu_micros);
        Some(format!(
            "{name}: {ratio:.2} of fio, goal {GOAL} missed; the order allows {}, without order it is {}, CPU for each write \
             {:.1} us beside fio's {:.1} us",
            part(named(BOUND)),
            part(named(&unordered(name))),
            cpu(series),
            cpu(beside),
        ))
    }

    /// To the fio that the runner stands beside.
    fn ratio(&self, series: &Series) -> Option<Ratio> {
        let beside = series.runner.beside.as_ref()?;
        let fio = self.series.iter().find(|other| other.runner.name == *beside)?;
        let ratios = series.samples.iter().zip(&fio.samples).map(|(sample, fio)| sample.iops / fio.iops);
        let ratios = sorted(ratios);
        let (lowest, highest) = (*ratios.first()?, *ratios.last()?);
        Some(Ratio { median: median(&ratios), lowest, highest })
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        let header = ["run", "depth", "IOPS", "of fio", "lowest", "highest", "CPU µs/write", "goal"];
        table.load_style(presets::NOTHING).set_header(header);
        for series in &self.series {
            let ratio = self.ratio(series);
            let part = |of: fn(Ratio) -> f64| ratio.map_or(String::new(), |ratio| format!("{:.3}", of(ratio)));
            table.add_row([
                series.runner.name.clone(),
                series.runner.depth.to_string(),
                format!("{:.0}", series.median(|sample| sample.iops)),
                part(|ratio| ratio.median),
                part(|ratio| ratio.lowest),
                part(|ratio| ratio.highest),
                series.cpu(),
                series.goal(),
            ]);
        }
        table
    }

    fn json(&self) -> Value {
        let one = |series: &Series| {
            let ratio = self.ratio(series);
            json!({
                "run": series.runner.name,
                "depth": series.runner.depth,
                "iops": series.median(|sample| sample.iops),
                "cpu_micros": series.median(|sample| sample.cpu_micros),
                "beside": series.runner.beside,
                "ratio": ratio.map(|ratio| ratio.median),
                "lowest": ratio.map(|ratio| ratio.lowest),
                "highest": ratio.map(|ratio| ratio.highest),
                "rounds": series.samples.len(),
            })
        };
        let runs: Vec<Value> = self.series.iter().map(one).collect();
        json!({ "title": self.title, "runs": runs, "verdicts": self.verdicts() })
    }
}

impl Series {
    fn median(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(&sorted(self.samples.iter().map(of)))
    }

    /// A model has none.
    fn cpu(&self) -> String {
        if self.runner.name == BOUND {
            String::new()
        } else {
            format!("{:.2}", self.median(|sample| sample.cpu_micros))
        }
    }

    /// Serial replay and the one without order have none: they are shown for comparison.
    fn has_goal(&self) -> bool {
        let Runner { is_replay, depth, name, .. } = &self.runner;
        *is_replay && *depth > 1 && !name.ends_with(UNORDERED)
    }

    fn goal(&self) -> String {
        if self.has_goal() { format!(">= {GOAL}") } else { String::new() }
    }
}

impl Report {
    /// For programs.
    pub(crate) fn json(&self) -> Value {
        json!({ "goal": GOAL, "sections": self.sections.iter().map(Section::json).collect::<Vec<_>>() })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for section in &self.sections {
            writeln!(f, "\n{}\n{}", section.title, section.table())?;
            section.verdicts().iter().try_for_each(|line| writeln!(f, "{line}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner(name: &str, beside: Option<&str>) -> Runner {
        let beside = beside.map(str::to_owned);
        Runner { name: name.to_owned(), depth: 32, is_replay: beside.is_some(), beside }
    }

    #[test]
    fn ratios_are_within_a_round() {
        let mut section = Section::new("disk".to_owned(), [runner("fio", None), runner("replay", Some("fio"))]);
        for (series, iops) in section.series.iter_mut().zip([[100.0, 200.0, 400.0], [90.0, 100.0, 360.0]]) {
            series.samples = iops.map(|iops| Sample { iops, cpu_micros: 2.0, variation: 0.0 }).to_vec();
        }
        let ratio = section.ratio(&section.series[1]).expect("beside fio");
        assert_eq!(ratio, Ratio { median: 0.9, lowest: 0.5, highest: 0.9 });
        assert_eq!(section.ratio(&section.series[0]), None);
        let text = Report { sections: vec![section.clone()] }.to_string();
        assert!(text.contains("replay: 0.90 of fio, goal reached"), "{text}");
        let report = Report { sections: vec![section] };
        assert_eq!(report.json()["sections"][0]["runs"][1]["ratio"], 0.9);
        assert!(report.to_string().contains(">= 0.9"), "{report}");
    }

    #[test]
    fn a_missed_goal_says_in_figures_what_it_is_bound_by() {
        let serial = Runner { depth: 1, ..runner("fio, serial", None) };
        let runners =
            [runner("fio", None), serial, runner("replay", Some("fio")), runner("replay, unordered", Some("fio"))];
        let mut section = Section::new("disk".to_owned(), runners);
        for (series, iops) in section.series.iter_mut().zip([800.0, 100.0, 200.0, 600.0]) {
            series.samples = vec![Sample { iops, cpu_micros: iops / 100.0, variation: 1.0 }];
        }
        // At eight at once half of it.
        section.bounds = Bounds::parse(
            r#"[{"units": 1, "variation": 0.0, "ratio": 1.0}, {"units": 1, "variation": 1.0, "ratio": 1.0},
                {"units": 8, "variation": 0.0, "ratio": 1.0}, {"units": 8, "variation": 1.0, "ratio": 0.5}]"#,
        )
        .expect("parses");
        section.add_bound();
        let bound = section.series.last().expect("added");
        assert_eq!((bound.runner.name.as_str(), bound.samples[0].iops), (BOUND, 400.0));
        let wanted = "replay: 0.25 of fio, goal 0.9 missed; the order allows 0.50, without order it is 0.75, CPU for each write \
                      2.0 us beside fio's 8.0 us";
        assert_eq!(section.verdicts(), [wanted]);
    }
}
