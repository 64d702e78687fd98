//! Samples and what they come to: medians, and ratios to fio within each round.

use std::fmt;

use comfy_table::{Table, presets};
use serde_json::{Value, json};

/// What replay is to reach of fio.
const GOAL: f64 = 0.9;

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
        Self { title, series }
    }

    /// Adds a sample of a runner, which may be a new one.
    pub(crate) fn add(&mut self, runner: Runner, sample: Sample) {
        match self.series.iter_mut().find(|series| series.runner == runner) {
            Some(series) => series.samples.push(sample),
            None => self.series.push(Series { runner, samples: vec![sample] }),
        }
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
                format!("{:.2}", series.median(|sample| sample.cpu_micros)),
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
        json!({ "title": self.title, "runs": self.series.iter().map(one).collect::<Vec<_>>() })
    }
}

impl Series {
    fn median(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(&sorted(self.samples.iter().map(of)))
    }

    /// Serial replay has none: it is shown for comparison.
    fn goal(&self) -> String {
        let Runner { is_replay, depth, .. } = self.runner;
        if is_replay && depth > 1 { format!(">= {GOAL}") } else { String::new() }
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
        self.sections.iter().try_for_each(|section| writeln!(f, "\n{}\n{}", section.title, section.table()))
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted {
        [] => 0.0,
        _ if sorted.len() % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
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
            series.samples = iops.map(|iops| Sample { iops, cpu_micros: 2.0 }).to_vec();
        }
        let ratio = section.ratio(&section.series[1]).expect("beside fio");
        assert_eq!(ratio, Ratio { median: 0.9, lowest: 0.5, highest: 0.9 });
        assert_eq!(section.ratio(&section.series[0]), None);
        let report = Report { sections: vec![section] };
        assert_eq!(report.json()["sections"][0]["runs"][1]["ratio"], 0.9);
        assert!(report.to_string().contains(">= 0.9"), "{report}");
    }

    #[test]
    fn medians() {
        assert_eq!((median(&[]), median(&[3.0]), median(&[1.0, 3.0]), median(&[1.0, 2.0, 9.0])), (0.0, 3.0, 2.0, 2.0));
    }
}
