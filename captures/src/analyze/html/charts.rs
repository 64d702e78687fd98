//! The charts, drawn by plotters as SVG. Colours are the page's: what is drawn in a stand-in gets the variable of the style
//! sheet, so that light, dark and paper each have their own. A chart that would show nothing is left out.

use std::fmt::Display;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::super::distribution::{Distribution, Step};
use super::super::overwrite::Window;
use super::super::report::Report;
use super::super::timeline::{HeatMap, Stretch};
use super::scale::{Scale, Unit};
use super::{ChartError, escape};
use crate::human::{bytes, count, seconds, time};

/// Units of a drawing: its text keeps its size beside them, so a small drawing has large text.
const SIZE: (u32, u32) = (620, 220);
const WIDE: (u32, u32) = (1240, 400);
const TEXT: u32 = 15;
/// Marks of an axis besides the 0.
const MARKS_ACROSS: usize = 6;
const MARKS_UP: usize = 5;
/// Places that a chart of bars has at least: a bar alone is no wall.
const PLACES: usize = 7;
/// Bars that are named at most.
const NAMES: usize = 9;
/// Heat maps that are drawn.
const MAPS: usize = 4;
/// Columns of a heat map that are drawn at most: it stays one that a browser draws at once.
const COLUMNS: usize = 120;

const INK: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);
const FIRST: RGBColor = RGBColor(3, 3, 3);
const SECOND: RGBColor = RGBColor(4, 4, 4);
const BAD: RGBColor = RGBColor(5, 5, 5);
const THIRD: RGBColor = RGBColor(6, 6, 6);
/// Stand-ins and the style sheet's variables.
const COLOURS: [(&str, &str); 6] = [
    ("#010101", "var(--soft)"),
    ("#020202", "var(--grid)"),
    ("#030303", "var(--first)"),
    ("#040404", "var(--second)"),
    ("#050505", "var(--bad)"),
    ("#060606", "var(--third)"),
];

/// A chart to be put in the page.
struct Figure {
    title: String,
    /// What it shows, in words; HTML.
    caption: String,
    svg: String,
    /// Left, top, right and bottom of the plotted area.
    area: [i32; 4],
    columns: Vec<String>,
    rows: Vec<String>,
    /// What is said of a cell, by column and row.
    cells: serde_json::Map<String, serde_json::Value>,
    wide: bool,
}

/// All charts, in the order of the page.
pub(super) fn all(report: &Report) -> Result<String, ChartError> {
    let mut figures = Vec::new();
    if report.summary.commands > 0 {
        figures.extend(over_time(report)?);
        figures.extend(distributions(report)?);
        figures.extend(overwrites(report)?);
        figures.extend(report.heat_maps.iter().take(MAPS).map(|map| heat(report, map)).collect::<Result<Vec<_>, _>>()?);
    }
    Ok(figures.iter().map(Figure::html).collect())
}

impl Figure {
    fn html(&self) -> String {
        let tips = serde_json::json!({ "columns": self.columns, "rows": self.rows, "cells": self.cells });
        // A script ends where its end tag stands, whatever the text says.
        let tips = tips.to_string().replace('<', "\\u003c");
        let [left, top, right, bottom] = self.area;
        let class = if self.wide { " class=\"wide\"" } else { "" };
        format!(
            "<figure{class} data-box=\"{left} {top} {right} {bottom}\"><h2>{}</h2>{}<figcaption>{}</figcaption>\
             <script type=\"application/json\">{tips}</script></figure>\n",
            escape(&self.title),
            self.svg,
            self.caption
        )
    }
}

/// A line of a chart: how it is called, its colour and that of its key, and a value for each stretch.
struct Line {
    name: &'static str,
    colour: RGBColor,
    key: &'static str,
    values: Vec<f64>,
}

/// A chart over time.
struct OverTime {
    title: &'static str,
    caption: &'static str,
    unit: Unit,
    lines: Vec<Line>,
}

/// When the stretches were, in seconds since the beginning.
struct Clock<'a> {
    stretches: &'a [Stretch],
    width: f64,
    /// When the last command completed: the last stretch is not all covered.
    end: f64,
}

impl<'a> Clock<'a> {
    fn of(report: &'a Report) -> Self {
        let (stretches, width) = (&report.timeline.stretches[..], report.timeline.seconds.max(1e-9));
        let all = stretches.len() as f64 * width;
        // What took no time (a log may tell no completions) still fills its stretch.
        let seconds = if report.summary.seconds > 0.0 { report.summary.seconds } else { all };
        Self { stretches, width, end: seconds.clamp((all - width).max(0.0), all) }
    }

    /// How much of a stretch lies before the end.
    fn covered(&self, at: usize) -> f64 {
        (self.end - at as f64 * self.width).clamp(0.0, self.width)
    }

    fn middle(&self, at: usize) -> f64 {
        at as f64 * self.width + self.covered(at) / 2.0
    }

    fn values(&self, value: fn(&Stretch) -> u64) -> Vec<f64> {
        self.stretches.iter().map(|stretch| value(stretch) as f64).collect()
    }

    /// Per second. A last stretch of which too little is covered says nothing.
    fn rates(&self, value: fn(&Stretch) -> u64) -> Vec<f64> {
        let telling = |at: &usize| *at == 0 || self.covered(*at) > self.width / 4.0;
        let rate = |at: usize| value(&self.stretches[at]) as f64 / self.covered(at).max(1e-9);
        (0..self.stretches.len()).filter(telling).map(rate).collect()
    }
}

fn over_time(report: &Report) -> Result<Vec<Figure>, ChartError> {
    let clock = Clock::of(report);
    let line = |name, colour, key, values| Line { name, colour, key, values };
    let charts = [
        OverTime {
            title: "Throughput",
            caption: "",
            unit: Unit::ByteRate,
            lines: vec![line("written", FIRST, "first", clock.rates(|stretch| stretch.bytes))],
        },
        OverTime {
            title: "Commands",
            caption: "",
            unit: Unit::Rate,
            lines: vec![
                line("writes", FIRST, "first", clock.rates(|stretch| stretch.writes)),
                line("flushes", SECOND, "second", clock.rates(|stretch| stretch.flushes)),
                line("discards and zeroing", THIRD, "third", clock.rates(|stretch| stretch.discards)),
            ],
        },
        OverTime {
            title: "Latency of writes",
            caption: "From issue to completion; so long at most took",
            unit: Unit::Latency,
            lines: vec![
                line("half of them", FIRST, "first", clock.values(|stretch| stretch.p50_ns)),
                line("99 %", SECOND, "second", clock.values(|stretch| stretch.p99_ns)),
            ],
        },
        OverTime {
            title: "In flight, and failures",
            caption: "",
            unit: Unit::Count,
            lines: vec![
                line("most commands at once", FIRST, "first", clock.values(|stretch| stretch.depth.into())),
                line("failures", BAD, "bad", clock.values(|stretch| stretch.errors)),
            ],
        },
    ];
    charts.into_iter().filter_map(|chart| chart.figure(&clock).transpose()).collect()
}

fn distributions(report: &Report) -> Result<Vec<Figure>, ChartError> {
    let mut figures = Vec::new();
    for operation in report.operations.iter().take(3) {
        let caption = counted(operation.count);
        let mut add = |title: &str, of: &Distribution, unit: fn(u64) -> String| {
            figures.push(histogram(&format!("{title} of each {}", operation.name), &caption, &of.histogram, &unit)?);
            Ok(())
        };
        if operation.size.max > 0 {
            add("Size", &operation.size, bytes)?;
        }
        add("Latency", &operation.latency, time)?;
    }
    let generation = &report.concurrency.generation;
    let caption = "How many commands were issued before the first of them completed: none depends on another.";
    let number = |limit: u64| count(limit as f64);
    figures.push(histogram("Width of generations", caption, &generation.histogram, &number)?);
    Ok(figures)
}

fn counted(count: u64) -> String {
    let commands = if count == 1 { "command" } else { "commands" };
    format!("{count} {commands}, by power of two: a bar counts those up to its name.")
}

fn histogram(title: &str, caption: &str, steps: &[Step], word: &dyn Fn(u64) -> String) -> Result<Figure, ChartError> {
    let bars = steps.iter().map(|step| Bar { name: word(step.limit), value: step.count as f64, said: "up to " });
    bars_figure(title, caption, Unit::Count, &bars.collect::<Vec<_>>())
}

/// Nothing when nothing was overwritten.
fn overwrites(report: &Report) -> Result<Option<Figure>, ChartError> {
    let windows = &report.overwrites.windows;
    if windows.iter().all(|window| window.overwritten <= 0.0) {
        return Ok(None);
    }
    let bar = |window: &Window| Bar { name: bytes(window.log_bytes), value: window.overwritten, said: "a log of " };
    let bars: Vec<Bar> = windows.iter().map(bar).collect();
    let caption = "The share of the written bytes that a log of this length would hold twice, and need not send.";
    bars_figure("Overwritten within a log", caption, Unit::Share, &bars).map(Some)
}

fn failed(error: impl Display) -> ChartError {
    ChartError(error.to_string())
}

/// The SVG with the page's colours.
fn coloured(svg: &str) -> String {
    COLOURS.iter().fold(svg.to_owned(), |svg, (stand_in, variable)| svg.replace(stand_in, variable))
}

/// An axis, and what is written at its marks.
struct Axis<'a> {
    scale: Scale,
    word: &'a dyn Fn(f64) -> String,
}

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Scale, Scale>>;

/// A coordinate system with labels; returns where its plotted area lies, too.
fn framed<'a, 'b>(
    root: &'a DrawingArea<SVGBackend<'b>, Shift>,
    x: Axis<'_>,
    y: Axis<'_>,
) -> Result<(Chart<'a, 'b>, [i32; 4]), ChartError> {
    let mut builder = ChartBuilder::on(root);
    builder.margin(6).margin_top(12).margin_right(30).x_label_area_size(30).y_label_area_size(88);
    let mut chart = builder.build_cartesian_2d(x.scale, y.scale).map_err(failed)?;
    let mut mesh = chart.configure_mesh();
    mesh.bold_line_style(GRID).light_line_style(TRANSPARENT).axis_style(GRID);
    mesh.label_style(("sans-serif", TEXT).into_font().color(&INK));
    mesh.x_label_formatter(&|at| (x.word)(*at)).y_label_formatter(&|at| (y.word)(*at)).draw().map_err(failed)?;
    let (across, down) = chart.plotting_area().get_pixel_range();
    Ok((chart, [across.start, down.start, across.end, down.end]))
}

/// An axis upwards, with some room above the largest value.
fn upwards(most: f64, word: &dyn Fn(f64) -> String, unit: Unit) -> Axis<'_> {
    let end = if most > 0.0 { most * 1.05 } else { 1.0 };
    Axis { scale: Scale { end, marks: unit.marks(end, MARKS_UP) }, word }
}

impl OverTime {
    /// Its figure with the lines that are not zero throughout; nothing when all are.
    fn figure(mut self, clock: &Clock<'_>) -> Result<Option<Figure>, ChartError> {
        self.lines.retain(|line| line.values.iter().any(|value| *value > 0.0));
        if self.lines.is_empty() {
            return Ok(None);
        }
        let mut svg = String::new();
        let area = self.draw(clock, &mut svg)?;
        let key = |line: &Line| format!("<span class=\"key {}\"></span>{}", line.key, escape(line.name));
        let caption = format!("{}{}", self.caption, self.lines.iter().map(key).collect::<String>());
        let tips = (0..clock.stretches.len()).map(|at| self.tip(clock, at)).collect();
        Ok(Some(Figure::new(self.title, &caption, &svg, area, tips)))
    }

    fn draw(&self, clock: &Clock<'_>, svg: &mut String) -> Result<[i32; 4], ChartError> {
        let most = self.lines.iter().flat_map(|line| &line.values).copied().fold(0.0, f64::max);
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        let all = clock.stretches.len() as f64 * clock.width;
        let marks = Unit::Elapsed.marks(all, MARKS_ACROSS);
        let across = Axis { scale: Scale { end: all, marks }, word: &|at| Unit::Elapsed.word(at) };
        let word = |value| self.unit.word(value);
        let (mut chart, area) = framed(&root, across, upwards(most, &word, self.unit))?;
        for line in &self.lines {
            let fill = line.colour.mix(0.12);
            let points = AreaSeries::new(clock.points(&line.values), 0.0, fill);
            chart.draw_series(points.border_style(line.colour.stroke_width(2))).map_err(failed)?;
        }
        root.present().map_err(failed)?;
        Ok(area)
    }

    fn tip(&self, clock: &Clock<'_>, at: usize) -> String {
        let told = |line: &Line| Some(format!("\n{}: {}", line.name, self.unit.word(*line.values.get(at)?)));
        let values: String = self.lines.iter().filter_map(told).collect();
        format!("from {}{values}", seconds(at as f64 * clock.width))
    }
}

impl Clock<'_> {
    /// A value stands in the middle of its stretch; the first and the last one reach to the ends.
    fn points(&self, values: &[f64]) -> Vec<(f64, f64)> {
        let middles = values.iter().enumerate().map(|(at, value)| (self.middle(at), *value));
        let first = values.first().map(|value| (0.0, *value));
        let last = values.last().map(|value| (self.end, *value));
        first.into_iter().chain(middles).chain(last).collect()
    }
}

impl Figure {
    fn new(title: &str, caption: &str, svg: &str, area: [i32; 4], columns: Vec<String>) -> Self {
        let (title, caption) = (title.to_owned(), caption.to_owned());
        let (rows, cells) = (Vec::new(), serde_json::Map::new());
        Self { title, caption, svg: coloured(svg), area, columns, rows, cells, wide: false }
    }
}

/// A bar, its name, and what is said before that when it is pointed at.
struct Bar {
    name: String,
    value: f64,
    said: &'static str,
}

/// Bars in the middle of at least [`PLACES`] places.
fn bars_figure(title: &str, caption: &str, unit: Unit, bars: &[Bar]) -> Result<Figure, ChartError> {
    let most = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let places = bars.len().max(PLACES);
    let before = (places - bars.len()) / 2;
    let bar_at = |at: f64| (at as usize).checked_sub(before).and_then(|at| bars.get(at));
    let mut svg = String::new();
    let area = {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let marks = (before..before + bars.len()).step_by(bars.len().div_ceil(NAMES).max(1));
        let marks = marks.map(|at| at as f64 + 0.5).collect();
        let name = |at: f64| bar_at(at).map_or_else(String::new, |bar| bar.name.clone());
        let across = Axis { scale: Scale { end: places as f64, marks }, word: &name };
        let word = |value| unit.word(value);
        let (mut chart, area) = framed(&root, across, upwards(most, &word, unit))?;
        let drawn = bars.iter().enumerate().map(|(at, bar)| {
            let left = (before + at) as f64;
            Rectangle::new([(left + 0.08, 0.0), (left + 0.92, bar.value)], FIRST.mix(0.85).filled())
        });
        chart.draw_series(drawn).map_err(failed)?;
        root.present().map_err(failed)?;
        area
    };
    let tip = |bar: &Bar| format!("{}{}: {}", bar.said, bar.name, unit.word(bar.value));
    let tips = (0..places).map(|at| bar_at(at as f64).map_or_else(String::new, tip)).collect();
    Ok(Figure::new(title, &escape(caption), &svg, area, tips))
}

/// Columns put together until there are few enough.
fn fewer_columns(map: &HeatMap) -> (Vec<Vec<u64>>, f64) {
    let together = map.columns.len().div_ceil(COLUMNS).max(1);
    let sum = |group: &[Vec<u64>]| {
        let rows = group.first().map_or(0, Vec::len);
        (0..rows).map(|row| group.iter().fold(0u64, |sum, column| sum.saturating_add(column[row]))).collect()
    };
    (map.columns.chunks(together).map(sum).collect(), map.seconds * together as f64)
}

fn heat(report: &Report, map: &HeatMap) -> Result<Figure, ChartError> {
    let (columns, width) = fewer_columns(map);
    let rows = columns.first().map_or(1, Vec::len);
    let most = columns.iter().flatten().copied().max().unwrap_or(1).max(1) as f64;
    let mut svg = String::new();
    let area = {
        let root = SVGBackend::with_string(&mut svg, WIDE).into_drawing_area();
        let (mut chart, area) = framed(
            &root,
            scaled(columns.len(), width, Unit::Elapsed, &|at| Unit::Elapsed.word(at * width)),
            scaled(rows, map.row_bytes as f64, Unit::Bytes, &|row| Unit::Bytes.word(row * map.row_bytes as f64)),
        )?;
        let used = cells(&columns).map(|(at, row, written)| {
            let (x, y) = (at as f64, row as f64);
            let shade = 0.15 + 0.85 * (written as f64 + 1.0).ln() / (most + 1.0).ln();
            Rectangle::new([(x, y), (x + 1.0, y + 1.0)], FIRST.mix(shade).filled())
        });
        chart.draw_series(used).map_err(failed)?;
        root.present().map_err(failed)?;
        area
    };
    let title = format!("Where {} was written, over time", report.volume_name(map.volume));
    let caption = "Address upwards, time to the right; the darker (brighter) the more bytes, by logarithm.";
    let names = (0..columns.len()).map(|at| format!("from {}", seconds(at as f64 * width))).collect();
    let mut figure = Figure::new(&title, caption, &svg, area, names);
    figure.rows = (0..rows as u64).map(|row| format!("from {}", bytes(row.saturating_mul(map.row_bytes)))).collect();
    let said = cells(&columns).map(|(at, row, written)| (format!("{at} {row}"), bytes(written).into()));
    figure.cells = said.collect();
    figure.wide = true;
    Ok(figure)
}

/// An axis of so many equal steps of a unit.
fn scaled<'a>(steps: usize, step: f64, unit: Unit, word: &'a dyn Fn(f64) -> String) -> Axis<'a> {
    let step = step.max(1e-9);
    let marks = unit.marks(steps as f64 * step, MARKS_ACROSS).into_iter().map(|at| at / step);
    Axis { scale: Scale { end: steps as f64, marks: marks.collect() }, word }
}

/// What was written to: column, row, bytes.
fn cells(columns: &[Vec<u64>]) -> impl Iterator<Item = (usize, usize, u64)> + '_ {
    let all =
        columns.iter().enumerate().flat_map(|(at, rows)| rows.iter().enumerate().map(move |(row, n)| (at, row, *n)));
    all.filter(|(.., written)| *written > 0)
}
