//! A report as one HTML page that needs nothing else: no network, no script from elsewhere.

mod charts;
mod scale;
mod tables;

use super::report::Report;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
#[error("a chart cannot be drawn: {0}")]
pub struct ChartError(String);

impl Report {
    /// The page.
    ///
    /// # Errors
    /// When a chart cannot be drawn.
    pub fn html(&self) -> Result<String, ChartError> {
        let charts = charts::all(self)?;
        let parts = [
            ("{{style}}", STYLE.to_owned()),
            ("{{script}}", SCRIPT.to_owned()),
            ("{{title}}", escape(&self.title())),
            ("{{summary}}", tables::summary(self)),
            ("{{charts}}", charts),
            ("{{tables}}", tables::all(self)),
            ("{{written_by}}", escape(&self.section.program)),
        ];
        // The page is cut at its places: what is put in is never looked at again.
        let mut page = String::new();
        let mut rest = PAGE;
        while let Some(start) = rest.find("{{") {
            let (before, after) = rest.split_at(start);
            page += before;
            let found = parts.iter().find(|(place, _)| after.starts_with(place));
            let (place, part) = found.map_or(("{{", "{{"), |(place, part)| (*place, part.as_str()));
            page += part;
            rest = &after[place.len()..];
        }
        Ok(page + rest)
    }

    fn title(&self) -> String {
        let names: Vec<&str> = self.devices.iter().map(|device| device.name.as_str()).take(4).collect();
        let host = if self.section.host.is_empty() { "an unknown host" } else { &self.section.host };
        format!("{} on {host}", if names.is_empty() { "capture".to_owned() } else { names.join(", ") })
    }
}

/// Text in HTML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c => escaped.push(c),
        }
    }
    escaped
}
