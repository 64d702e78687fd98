//! The charts, drawn by plotters as SVG. Colours are the page's: what is drawn in a stand-in gets the variable of the style
//! sheet, so that light, dark and paper each have their own.

use std::fmt::Display;
use std::ops::Range;

use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::prelude::*;

use super::super::distribution::Step;
use super::super::report::Report;
use super::super::timeline::{HeatMap, Stretch};
use super::{ChartError, escape};
use crate::human::{bytes, count, percent, seconds, time};

const WIDTH: u32 = 760;
const HEIGHT: u32 = 250;
/// Heat maps that are drawn.
const MAPS: usize = 4;
/// Columns of a heat map that are drawn at most: it stays one that a browser draws at once.
const COLUMNS: usize = 120;

const INK: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);
const FIRST: RGBColor = RGBColor(3, 3, 3);
const SECOND: RGBColor = RGBColor(4, 4, 4);
const BAD: RGBColor = RGBColor(5, 5, 5);
/// Stand-ins and the style sheet's variables.
const COLOURS: [(&str, &str); 5] = [
    ("#010101", "var(--soft)"),
    ("#020202", "var(--grid)"),
    ("#030303", "var(--first)"),
    ("#040404", "var(--second)"),
    ("#050505", "var(--bad)"),
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

/// A line of a chart.
struct Line<'a> {
    values: Vec<f64>,
    colour: &'a RGBColor,
}

/// What every chart has.
struct Frame<'a> {
    title: &'a str,
    caption: &'a str,
    x: &'a dyn Fn(f64) -> String,
    y: &'a dyn Fn(f64) -> String,
}

fn over_time(report: &Report) -> Result<Vec<Figure>, ChartError> {
    let timeline = &report.timeline;
    let per_second = |value: fn(&Stretch) -> u64, colour| Line {
        values: timeline.stretches.iter().map(|stretch| value(stretch) as f64 / timeline.seconds.max(1e-9)).collect(),
        colour,
    };
    let plain = |value: fn(&Stretch) -> u64, colour| Line {
        values: timeline.stretches.iter().map(|stretch| value(stretch) as f64).collect(),
        colour,
    };
    let width = timeline.seconds;
    let x = move |at: f64| seconds(at * width);
    let rate = |value: f64| format!("{}/s", bytes(value as u64));
    let iops = |value: f64| format!("{}/s", count(value));
    let ns = |value: f64| time(value as u64);
    let throughput = Frame { title: "Throughput", caption: "Bytes written.", x: &x, y: &rate };
    let commands = Frame {
        title: "Commands",
        caption: "<span class=\"key first\"></span>writes<span class=\"key second\"></span>flushes",
        x: &x,
        y: &iops,
    };
    let latency = Frame {
        title: "Latency of writes",
        caption: "Issue to completion: <span class=\"key first\"></span>half<span class=\"key second\"></span>99 %",
        x: &x,
        y: &ns,
    };
    let depth = Frame {
        title: "In flight, and failures",
        caption: "<span class=\"key first\"></span>most commands at once<span class=\"key bad\"></span>failures",
        x: &x,
        y: &|value| count(value),
    };
    Ok(vec![
        lines(&throughput, &[per_second(|stretch| stretch.bytes, &FIRST)])?,
        lines(&commands, &[per_second(|s| s.writes, &FIRST), per_second(|s| s.flushes, &SECOND)])?,
        lines(&latency, &[plain(|s| s.p50_ns, &FIRST), plain(|s| s.p99_ns, &SECOND)])?,
        lines(&depth, &[plain(|s| u64::from(s.depth), &FIRST), plain(|s| s.errors, &BAD)])?,
    ])
}

fn distributions(report: &Report) -> Result<Vec<Figure>, ChartError> {
    let mut figures = Vec::new();
    let named = |limit: u64, unit: &dyn Fn(u64) -> String| format!("up to {}", unit(limit));
    for operation in report.operations.iter().take(3) {
        let commands = format!("{} commands, by power of two.", operation.count);
        if operation.size.max > 0 {
            let title = format!("Size of each {}", operation.name);
            let label = |step: &Step| named(step.limit, &bytes);
            figures.push(bars(&title, &commands, &operation.size.histogram, &label)?);
        }
        let title = format!("Latency of each {}", operation.name);
        let label = |step: &Step| named(step.limit, &time);
        figures.push(bars(&title, &commands, &operation.latency.histogram, &label)?);
    }
    let generation = &report.concurrency.generation;
    let caption = "Commands that were issued before the first of them completed: none depends on another.";
    let label = |step: &Step| format!("up to {} commands", step.limit);
    figures.push(bars("Width of generations", caption, &generation.histogram, &label)?);
    figures.push(overwrites(report)?);
    Ok(figures)
}

fn overwrites(report: &Report) -> Result<Figure, ChartError> {
    let windows = &report.overwrites.windows;
    let named = |at: f64| windows.get(at.round().max(0.0) as usize).filter(|_| (at - at.round()).abs() < 0.01);
    let x = |at: f64| named(at).map_or(String::new(), |window| bytes(window.log_bytes));
    let frame = Frame {
        title: "Overwritten within a log",
        caption: "The share of the written bytes that a log of this length would hold twice, and need not send.",
        x: &x,
        y: &|value| percent(value),
    };
    lines(&frame, &[Line { values: windows.iter().map(|window| window.overwritten).collect(), colour: &FIRST }])
}

fn failed(error: impl Display) -> ChartError {
    ChartError(error.to_string())
}

/// The SVG with the page's colours.
fn coloured(svg: &str) -> String {
    COLOURS.iter().fold(svg.to_owned(), |svg, (stand_in, variable)| svg.replace(stand_in, variable))
}

/// A coordinate system with labels; returns where its plotted area lies.
macro_rules! framed {
    ($root:expr, $x:expr, $y:expr, $format_x:expr, $format_y:expr) => {{
        let mut builder = ChartBuilder::on($root);
        builder.margin(6).margin_right(18).x_label_area_size(28).y_label_area_size(78);
        let mut chart = builder.build_cartesian_2d($x, $y).map_err(failed)?;
        mesh(&mut chart, $format_x, $format_y)?;
        let (across, down) = chart.plotting_area().get_pixel_range();
        (chart, [across.start, down.start, across.end, down.end])
    }};
}

type Chart<'a, 'b, X, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>;

fn mesh<'b, X, Y>(
    chart: &mut Chart<'_, 'b, X, Y>,
    x: &dyn Fn(&f64) -> String,
    y: &dyn Fn(&f64) -> String,
) -> Result<(), ChartError>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let style = ("sans-serif", 14).into_font().color(&INK);
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(GRID)
        .label_style(style)
        .x_labels(7)
        .y_labels(5)
        .x_label_formatter(&x)
        .y_label_formatter(&y)
        .draw()
        .map_err(failed)
}

/// A range of a coordinate that is never empty.
fn up_to(most: f64) -> Range<f64> {
    0.0..if most > 0.0 { most * 1.05 } else { 1.0 }
}

fn lines(frame: &Frame<'_>, drawn: &[Line<'_>]) -> Result<Figure, ChartError> {
    let places = drawn.iter().map(|line| line.values.len()).max().unwrap_or(0);
    let most = drawn.iter().flat_map(|line| &line.values).copied().fold(0.0, f64::max);
    let mut svg = String::new();
    let area = {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        let range = -0.5..places.max(1) as f64 - 0.5;
        let (mut chart, area) =
            framed!(&root, range, up_to(most), &|at: &f64| (frame.x)((*at).max(0.0)), &|value: &f64| (frame.y)(*value));
        for line in drawn {
            let points = (0..).zip(&line.values).map(|(at, value): (u32, _)| (f64::from(at), *value));
            let area = AreaSeries::new(points, 0.0, line.colour.mix(0.12)).border_style(line.colour.stroke_width(2));
            chart.draw_series(area).map_err(failed)?;
        }
        root.present().map_err(failed)?;
        area
    };
    let tip = |at: usize| {
        let values = drawn.iter().filter_map(|line| line.values.get(at)).map(|value| (frame.y)(*value));
        format!("{}: {}", (frame.x)(at as f64), values.collect::<Vec<_>>().join(" · "))
    };
    Ok(Figure::new(frame.title, frame.caption, &svg, area, (0..places).map(tip).collect()))
}

impl Figure {
    fn new(title: &str, caption: &str, svg: &str, area: [i32; 4], columns: Vec<String>) -> Self {
        let (title, caption) = (title.to_owned(), caption.to_owned());
        let (rows, cells) = (Vec::new(), serde_json::Map::new());
        Self { title, caption, svg: coloured(svg), area, columns, rows, cells, wide: false }
    }
}

fn bars(title: &str, caption: &str, steps: &[Step], label: &dyn Fn(&Step) -> String) -> Result<Figure, ChartError> {
    let most = steps.iter().map(|step| step.count).max().unwrap_or(0) as f64;
    let mut svg = String::new();
    let area = {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        let range = -0.5..steps.len().max(1) as f64 - 0.5;
        let name = |at: &f64| {
            // Between two bars nothing is named.
            let step = steps.get(at.round().max(0.0) as usize).filter(|_| (at - at.round()).abs() < 0.01);
            step.map_or(String::new(), |step| label(step).trim_start_matches("up to ").to_owned())
        };
        let (mut chart, area) = framed!(&root, range, up_to(most), &name, &|value: &f64| count(*value));
        let bar = |(at, step): (u32, &Step)| {
            let (middle, height) = (f64::from(at), step.count as f64);
            Rectangle::new([(middle - 0.42, 0.0), (middle + 0.42, height)], FIRST.mix(0.85).filled())
        };
        chart.draw_series((0..).zip(steps).map(bar)).map_err(failed)?;
        root.present().map_err(failed)?;
        area
    };
    let tips = steps.iter().map(|step| format!("{}: {}", label(step), step.count)).collect();
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
        let root = SVGBackend::with_string(&mut svg, (WIDTH * 2, HEIGHT * 2)).into_drawing_area();
        let place = |row: &f64| bytes((row.max(0.0) as u64).saturating_mul(map.row_bytes));
        let (across, up) = (0.0..columns.len() as f64, 0.0..rows as f64);
        let (mut chart, area) = framed!(&root, across, up, &|at: &f64| seconds(at * width), &place);
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

/// What was written to: column, row, bytes.
fn cells(columns: &[Vec<u64>]) -> impl Iterator<Item = (usize, usize, u64)> + '_ {
    let all =
        columns.iter().enumerate().flat_map(|(at, rows)| rows.iter().enumerate().map(move |(row, n)| (at, row, *n)));
    all.filter(|(.., written)| *written > 0)
}
