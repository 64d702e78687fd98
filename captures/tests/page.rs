//! The page of an analysis in a real browser: every chart is drawn with what the report says, nothing lies over anything
//! else, nothing is asked of a network, and nothing is complained of.
#![allow(missing_docs)]

mod common;

use std::process::Command;

use captures::analyze::{Report, analyze};
use captures::{Scan, Writer};
use common::{Written, database, devices, entry, file, has, one_of_each, record, section, statistics};
use formats::{ByteRange, Op, Record, Status};
use serde_json::Value;

/// What is looked at in the page, told as JSON at its end: what each chart consists of, texts that lie over each other or
/// beyond their chart, what was loaded, how text stands out, and what is said where the pointer is.
const LOOK: &str = r#"<script>
const rectangle = (element) => element.getBoundingClientRect();
const apart = (a, b) => a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
const within = (a, b) => a.left >= b.left - 1 && a.right <= b.right + 1 && a.top >= b.top - 1 && a.bottom <= b.bottom + 1;
const light = (colour) => colour.match(/[\d.]+/g).slice(0, 3).map((part) => part / 255)
  .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
  .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
const contrast = (one, other) => { const [a, b] = [light(one), light(other)].sort(); return (b + 0.05) / (a + 0.05); };
const charts = [...document.querySelectorAll("figure")].map((figure) => {
  const svg = figure.querySelector("svg"), texts = [...svg.querySelectorAll("text")];
  const pairs = texts.flatMap((text, at) => texts.slice(at + 1).map((other) => [text, other]));
  const [left, top, right, bottom] = figure.dataset.box.split(" ").map(Number), box = rectangle(svg);
  const scale = box.width / svg.viewBox.baseVal.width;
  const at = { clientX: box.left + (left + right) / 2 * scale, clientY: box.top + (top + bottom) / 2 * scale };
  svg.dispatchEvent(new PointerEvent("pointermove", at));
  return {
    title: figure.querySelector("h2").textContent,
    caption: figure.querySelector("figcaption").textContent,
    bars: svg.querySelectorAll("rect").length,
    lines: svg.querySelectorAll("polyline:not([stroke='var(--grid)'])").length,
    texts: texts.map((text) => text.textContent.trim()),
    over: pairs.filter(([a, b]) => !apart(rectangle(a), rectangle(b))).map((pair) => pair.map((text) => text.textContent.trim())),
    beyond: texts.filter((text) => !within(rectangle(text), box)).map((text) => text.textContent.trim()),
    contrast: Math.min(...texts.map((text) => contrast(getComputedStyle(text).fill, getComputedStyle(figure).backgroundColor))),
    tip: document.getElementById("tip").textContent,
  };
});
// Once everything was loaded, or could not be.
addEventListener("load", () => {
  const boxes = [...document.querySelectorAll(".facts div, figure, .table, body")];
  const told = document.createElement("script");
  told.type = "application/json";
  told.textContent = JSON.stringify({
    charts,
    loaded: performance.getEntriesByType("resource").map((entry) => entry.name),
    overflowing: boxes.filter((box) => box.scrollWidth > box.clientWidth + 1).map((box) => box.textContent.slice(0, 60)),
    page: light(getComputedStyle(document.body).backgroundColor),
  });
  told.id = "told";
  document.body.append(told);
});
</script></body>"#;

/// What a browser made of a page.
struct Shown {
    dom: String,
    log: String,
}

impl Shown {
    /// Of a page with [`LOOK`] at its end.
    fn of(page: &str, more: &[&str]) -> Self {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("report.html");
        std::fs::write(&path, page.replacen("</body>", LOOK, 1)).unwrap();
        let output = Command::new("timeout")
            .args(["120", "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"])
            .args(["--dump-dom", "--window-size=1300,2000", "--no-first-run", "--disable-background-networking"])
            // What the browser itself wants from its makers does not concern the page.
            .args(["--host-resolver-rules=MAP * ~NOTFOUND", "--disable-component-update"])
            .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
            .args(more)
            .arg(format!("file://{}", path.display()))
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (dom, log) = (text(output.stdout), text(output.stderr));
        assert!(output.status.success(), "{log}");
        Self { dom, log }
    }

    fn complaints(&self) -> Vec<&str> {
        self.log.lines().filter(|line| line.contains("CONSOLE")).collect()
    }

    fn told(&self) -> Value {
        let (_, told) = self.dom.rsplit_once("id=\"told\">").unwrap_or_else(|| panic!("{}", self.log));
        serde_json::from_str(told.split("</script>").next().unwrap()).unwrap()
    }
}

fn report(bytes: &[u8]) -> Report {
    analyze(Scan::with(bytes, 2, 5000).unwrap(), |_| {}).unwrap()
}

/// What the browser says of the page of a report, when that is as every page must be.
fn sound(name: &str, report: &Report, more: &[&str]) -> Value {
    let shown = Shown::of(&report.html().unwrap(), more);
    assert_eq!(shown.complaints(), [""; 0], "{name}");
    assert!(shown.dom.contains("data-ready=\"yes\""), "{name}: the script ran to its end");
    let told = shown.told();
    assert_eq!((&told["loaded"], &told["overflowing"]), (&list(&[]), &list(&[])), "{name}");
    for chart in told["charts"].as_array().unwrap() {
        assert_eq!((&chart["over"], &chart["beyond"]), (&list(&[]), &list(&[])), "{name}: {chart:#}");
        assert!(chart["contrast"].as_f64() > Some(4.5), "{name}: {chart:#}");
        assert!(chart["texts"].as_array().unwrap().len() > 2, "{name}: {chart:#}");
        let drawn = chart["bars"].as_u64().unwrap() + chart["lines"].as_u64().unwrap();
        assert!(drawn > 0, "{name}: an empty chart is none: {chart:#}");
    }
    told
}

fn list(of: &[&str]) -> Value {
    of.iter().map(|text| Value::from(*text)).collect()
}

fn chart<'a>(told: &'a Value, title: &str) -> &'a Value {
    let charts = told["charts"].as_array().unwrap();
    charts.iter().find(|chart| chart["title"] == title).unwrap_or_else(|| panic!("{title}: {charts:#?}"))
}

fn titles(told: &Value) -> Vec<&str> {
    told["charts"].as_array().unwrap().iter().filter_map(|chart| chart["title"].as_str()).collect()
}

#[test]
fn every_chart_is_drawn_in_light_and_dark() {
    if !has("chromium") {
        return;
    }
    let report = report(&database());
    let light = sound("light", &report, &[]);
    let write = report.operations.iter().find(|operation| operation.name == "write").unwrap();
    let bars = |title: &str| chart(&light, title)["bars"].as_u64();
    assert_eq!(bars("Size of each write"), Some(write.size.histogram.len() as u64));
    assert_eq!(bars("Latency of each write"), Some(write.latency.histogram.len() as u64));
    assert_eq!(bars("Width of generations"), Some(report.concurrency.generation.histogram.len() as u64));
    assert_eq!(bars("Overwritten within a log"), Some(report.overwrites.windows.len() as u64));
    let map = &report.heat_maps[0];
    assert!(map.columns.len() <= 120, "none is put together with its neighbour");
    let written = map.columns.iter().flatten().filter(|bytes| **bytes > 0).count();
    assert_eq!(bars("Where loop0 was written, over time"), Some(written as u64));
    let lines = ["Throughput", "Commands", "Latency of writes", "In flight, and failures"]
        .map(|title| chart(&light, title)["lines"].as_u64().unwrap());
    assert_eq!(lines, [1, 2, 2, 1], "what is zero throughout has no line");
    let tip = chart(&light, "Commands")["tip"].as_str().unwrap();
    assert!(tip.contains("from ") && tip.contains("writes: ") && tip.contains("flushes: "), "{tip}");
    let dark = sound("dark", &report, &["--blink-settings=preferredColorScheme=0"]);
    assert_eq!(titles(&dark), titles(&light));
    assert!(light["page"].as_f64() > Some(0.9) && dark["page"].as_f64() < Some(0.05), "{light:#} {dark:#}");
}

/// Only flushes, a second apart.
fn flushes(count: u64) -> Vec<Written> {
    let flush = |seq: u64| {
        let record = record(seq, 0, Op::Flush, ByteRange::default(), Status::OK);
        let mut origin = record.origin;
        (origin.issued_ns, origin.completed_ns) =
            (origin.issued_ns + seq * 1_000_000_000, origin.completed_ns + seq * 1_000_000_000);
        entry(Record { origin, ..record }, &[], &[])
    };
    (1..=count).map(flush).collect()
}

/// A write each 40 seconds for a day, of ever other sizes and durations.
fn day() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &section(), &devices()).unwrap();
    for seq in 1..=2160u64 {
        let len = 512 << (seq % 12);
        let plain = record(seq, 0, Op::Write, ByteRange::new(seq * 400_000 / 512 * 512, len), Status::OK);
        let mut origin = plain.origin;
        origin.issued_ns += seq * 40_000_000_000;
        origin.completed_ns = origin.issued_ns + (100 << (seq % 25));
        let (header, _) = entry(Record { origin, ..plain }, &[], &[]);
        writer.write(&header, &[]).unwrap();
    }
    writer.statistics(&statistics(2160)).unwrap();
    writer.finish().unwrap()
}

#[test]
fn odd_captures_have_a_sound_page() {
    if !has("chromium") {
        return;
    }
    let one = [entry(record(1, 0, Op::Write, ByteRange::new(1 << 29, 4096), Status::OK), &[7; 4096], &[])];
    let one = sound("one", &report(&file(&section(), &one)), &[]);
    assert_eq!(chart(&one, "Throughput")["lines"], 1);
    assert_eq!(chart(&one, "Where loop0 was written, over time")["bars"], 1);
    assert!(!titles(&one).contains(&"Overwritten within a log"), "{:?}", titles(&one));
    let instant = record(1, 0, Op::Write, ByteRange::new(0, 4096), Status::OK);
    let origin = formats::entry::Origin { completed_ns: instant.origin.issued_ns, ..instant.origin };
    let instant = [entry(Record { origin, ..instant }, &[7; 4096], &[])];
    let instant = sound("instant", &report(&file(&section(), &instant)), &[]);
    assert!(!chart(&instant, "Throughput").to_string().contains("TiB/s"), "no time is not endless speed: {instant:#}");
    let flushes = sound("flushes", &report(&file(&section(), &flushes(90))), &[]);
    assert_eq!(
        titles(&flushes),
        ["Commands", "In flight, and failures", "Latency of each flush", "Width of generations"]
    );
    let day = sound("day", &report(&day()), &[]);
    let hours = chart(&day, "Commands")["texts"].as_array().unwrap();
    assert!(hours.contains(&"8 h".into()) && hours.contains(&"16 h".into()), "{hours:?}");
    sound("one of each", &report(&file(&section(), &one_of_each())), &[]);
    let empty = sound("empty", &report(&file(&section(), &[])), &[]);
    assert_eq!(titles(&empty), [""; 0]);
}

/// A page that does what must not be is found out by the same means.
#[test]
fn the_browser_tells_what_is_wrong() {
    if !has("chromium") {
        return;
    }
    let figure = "<div id=\"tip\"></div><figure data-box=\"0 0 9 9\"><h2>x</h2><svg width=\"90\" height=\"90\" viewBox=\"0 0 90 90\">\
        <text x=\"5\" y=\"20\">one</text><text x=\"7\" y=\"20\">two</text><text x=\"80\" y=\"60\">beyond</text></svg>\
        <figcaption></figcaption></figure>";
    let body = format!("{figure}<img src=\"http://127.0.0.1:9/x.png\"></body>");
    let asks = Shown::of(&format!("<!doctype html><body>{body}"), &[]).told();
    assert_eq!(asks["loaded"], list(&["http://127.0.0.1:9/x.png"]));
    assert_eq!(asks["charts"][0]["over"][0], list(&["one", "two"]));
    assert_eq!(asks["charts"][0]["beyond"], list(&["beyond"]));
    let page = report(&database()).html().unwrap();
    let refused = Shown::of(&page.replacen("</body>", "<img src=\"http://127.0.0.1:9/x.png\"></body>", 1), &[]);
    assert!(refused.complaints()[0].contains("Content Security Policy"), "{:?}", refused.complaints());
    let broken = Shown::of(&page.replacen("\"use strict\";", "\"use strict\"; nothing.of();", 1), &[]);
    assert!(broken.complaints()[0].contains("ReferenceError"), "{:?}", broken.complaints());
}
