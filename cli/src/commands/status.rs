//! `status`: all primaries and standbys of this machine on one screen.

use std::io::IsTerminal;
use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use serde_json::{Value, json};

use super::{Context, print, print_json};
use crate::args::Status;
use crate::control::client::{Client, Found, find_all};
use crate::control::protocol::Request;
use crate::exit::{Done, Exit, Failure};
use crate::node::view::{View, by_reason};
use crate::signals::Stop;
use crate::units::{bytes, duration};

/// Time between two screens.
const AGAIN: Duration = Duration::from_secs(1);
/// Columns of a screen that is no terminal.
const WIDTH: u16 = 100;
/// Moves to the top left and clears what is below.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(super) fn run(args: &Status, context: &Context) -> Done {
    if !args.watch {
        return show(args, context);
    }
    let stop = Stop::on_signals()?;
    while !stop.is_set() {
        if !args.json && std::io::stdout().is_terminal() {
            print(CLEAR)?;
        }
        match show(args, context) {
            // A service may come while one watches.
            Err(failure) if failure.exit == Exit::Unreachable && failure.error.is_none() => {}
            Err(failure) if failure.exit == Exit::Unreachable => print(&format!("{failure}\n"))?,
            shown => shown?,
        }
        stop.wait(AGAIN);
    }
    Ok(())
}

fn show(args: &Status, context: &Context) -> Done {
    let services = ask_all(context)?;
    if args.json {
        print_json(&services.iter().map(to_json).collect::<Vec<_>>())?;
        return all_answered(&services);
    }
    if services.is_empty() {
        let text = format!("no service runs with its control socket in {}", context.run_dir.display());
        return Err(Failure::text(Exit::Unreachable, text));
    }
    services.iter().try_for_each(|service| print(&format!("{}\n", table(service))))?;
    all_answered(&services)
}

/// A script must not take a service that is gone, and left its socket, for one that is well.
fn all_answered(services: &[Asked]) -> Done {
    if services.iter().all(|(_, answer)| answer.is_ok()) { Ok(()) } else { Err(Failure::silent(Exit::Unreachable)) }
}

type Asked = (Found, Done<Value>);

fn ask_all(context: &Context) -> Done<Vec<Asked>> {
    let all = find_all(&context.run_dir)?.into_iter();
    Ok(all
        .map(|found| {
            let answer = Client::connect(&found.path).and_then(|client| client.ask(Request::Status));
            (found, answer)
        })
        .collect())
}

fn to_json((found, answer): &Asked) -> Value {
    let mut service = json!({ "role": found.role.word(), "group": found.group });
    match answer {
        Ok(status) => service["status"] = status.clone(),
        Err(failure) => service["error"] = failure.to_string().into(),
    }
    service
}

fn table((found, answer): &Asked) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    if !table.is_tty() {
        table.set_width(WIDTH);
    }
    let role = found.role.word();
    match answer {
        Ok(status) => fill(&mut table, role, &found.group, &View::of(found.role, status)),
        Err(failure) => {
            table.set_header([role, &found.group]).add_row(["unreachable", &failure.to_string()]);
        }
    }
    table
}

fn fill(table: &mut Table, role: &str, group: &str, view: &View) {
    table.set_header([role, group]);
    let mut row = |name: &str, text: String| {
        table.add_row([name, &text]);
    };
    row("state", [view.state.as_str(), view.data.as_str()].join(" / "));
    if !view.reason.is_empty() {
        row("reason", view.reason.clone());
    }
    row("volumes", view.volumes.join("\n"));
    row("other side", view.peer.clone());
    view.standbys.iter().for_each(|(name, text)| row(name, text.clone()));
    row("lag", format!("{}, {} entries, {}", duration(view.lag), view.lag_entries, bytes(view.lag_bytes)));
    row("journal", format!("{} of {}", bytes(view.journal.0), bytes(view.journal.1)));
    row("carried", format!("{} entries, {}", view.entries, bytes(view.bytes)));
    row("resynced", bytes(view.resynced));
    view.scsi.iter().for_each(|(name, text)| row(name, text.clone()));
    if role == "primary" {
        row("dirty", bytes(view.dirty));
        if !view.filter.0.is_empty() {
            row("filter", view.filter.0.clone());
            row("kept out", by_reason(&view.filter.1));
        }
        row("reads, not carried", view.reads_in_words());
        row("lost", view.losses());
        row("read back instead", by_reason(&view.read_back));
        row("full copies", view.full_syncs.to_string());
    }
}
