//! `docs/error-consistency.md` says what the table says: same rows, same order, same words.
//!
//! The parts between `<!-- NAME -->` and `<!-- end -->` are made from the code. With `BLESS=1` in the environment they
//! are written, else compared.

use std::fmt::{Display, Write};
use std::fs;
use std::path::PathBuf;

use replication::errors::{
    BY_EFFECT, Budget, Budgets, CONTENT, FLUSH_LOST, FOREIGN, ISSUED, NOT_TAKEN, PLAIN, Pattern, ROWS, RowIndex, STATE,
    SUCCESS, StandbyOutcome, StopReason, TAPE, TAPE_LOST, TAPE_STOPPED,
};

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/error-consistency.md")
}

fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(head.iter().map(ToString::to_string).collect());
    text += &line(head.iter().map(|_| "---".to_string()).collect());
    rows.into_iter().for_each(|row| text += &line(row));
    text
}

fn rows() -> String {
    let head = ["row", "primary", "command", "standby", "action", "standby afterwards"];
    let cells = |index: RowIndex| {
        let row = index.row();
        let id = format!("`{}`", row.id);
        let (primary, command, standby) = (row.primary.to_string(), row.command.to_string(), row.standby.to_string());
        vec![id, primary, command, standby, row.action.to_string(), row.effect.to_string()]
    };
    table(&head, RowIndex::all().map(cells))
}

fn classes() -> String {
    let head = ["class", "status and sense", "source", "what Linux does with it"];
    let cells = |class: &StandbyOutcome| {
        let source = class.source();
        vec![class.to_string(), source.answer.into(), source.standard.into(), source.linux.into()]
    };
    table(&head, StandbyOutcome::ALL.iter().map(cells))
}

fn group<T: Display + PartialEq>(text: &mut String, pattern: &Pattern<T>) {
    let Pattern::Group(name, members) = pattern else { panic!("not a group: {pattern}") };
    let members: Vec<_> = members.iter().map(ToString::to_string).collect();
    writeln!(text, "- **{name}**: {}", members.join("; ")).unwrap();
}

fn groups() -> String {
    let mut text = String::new();
    group(&mut text, &SUCCESS);
    for pattern in [&CONTENT, &ISSUED, &BY_EFFECT, &STATE, &TAPE, &PLAIN] {
        group(&mut text, pattern);
    }
    for pattern in [&TAPE_LOST, &TAPE_STOPPED, &FLUSH_LOST, &NOT_TAKEN, &FOREIGN] {
        group(&mut text, pattern);
    }
    text
}

fn limits() -> String {
    let budgets = Budgets::USUAL;
    let cells = |budget: &Budget| {
        let limit = budgets.limit(*budget);
        vec![budget.to_string(), limit.attempts.to_string(), format!("{} s", limit.time.as_secs())]
    };
    table(&["class of retries", "attempts", "time"], Budget::ALL.iter().map(cells))
}

fn reasons() -> String {
    let cells = |reason: &StopReason| vec![format!("`Stopped: {reason}`"), reason.remedy().to_string()];
    table(&["state", "what to do"], StopReason::ALL.iter().map(cells))
}

/// The document with the part of this name replaced.
fn replaced(document: &str, name: &str, content: &str) -> String {
    let begin = format!("<!-- {name} -->\n");
    let from = document.find(&begin).unwrap_or_else(|| panic!("no {begin:?} in the document")) + begin.len();
    let to = from + document[from..].find("<!-- end -->").unwrap_or_else(|| panic!("{name} does not end"));
    format!("{}\n{content}\n{}", &document[..from], &document[to..])
}

#[test]
fn the_document_says_what_the_code_says() {
    let found = fs::read_to_string(path()).expect("docs/error-consistency.md");
    let parts = [("rows", rows()), ("classes", classes()), ("groups", groups()), ("limits", limits())];
    let mut wanted = replaced(&found, "reasons", &reasons());
    for (name, content) in parts {
        wanted = replaced(&wanted, name, &content);
    }
    if std::env::var_os("BLESS").is_some() {
        return fs::write(path(), wanted).expect("written");
    }
    let differs = wanted.lines().zip(found.lines()).find(|(wanted, found)| wanted != found);
    assert!(wanted == found, "run this test with BLESS=1; first difference: {differs:?}");
}

#[test]
fn every_row_and_every_group_is_told() {
    let document = fs::read_to_string(path()).expect("docs/error-consistency.md");
    let told = |row: &replication::errors::Row| document.contains(&format!("| `{}` |", row.id));
    assert!(ROWS.iter().all(told));
    for name in ROWS.iter().flat_map(|row| [name_of(&row.primary), name_of(&row.command), name_of(&row.standby)]) {
        assert!(name.is_none_or(|name| document.contains(&format!("- **{name}**:"))), "{name:?}");
    }
}

fn name_of<T>(pattern: &Pattern<T>) -> Option<&'static str> {
    if let Pattern::Group(name, _) = pattern { Some(name) } else { None }
}
