//! `mark`: a named point in running captures.

use clap::Args;
use serde_json::Value;

use super::{Context, print, print_json};
use crate::control::capture_socket;
use crate::control::client::{Client, captures};
use crate::control::protocol::Request;
use crate::exit::{Done, Exit, Failure};
use crate::node::marks;

/// Arguments of `mark`.
#[derive(Debug, Args)]
pub(crate) struct MarkArgs {
    /// Its name, as `rebuild --at`, `cut --from`, `replay --until` and the like take it
    #[arg(value_name = "NAME")]
    name: String,
    /// Only in the capture of this process [default: in all that run]
    #[arg(long, value_name = "PID")]
    capture: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &MarkArgs, context: &Context) -> Done {
    marks::check(&args.name)?;
    let sockets = match args.capture {
        Some(process) => vec![capture_socket(&context.run_dir, process)],
        None => captures(&context.run_dir)?,
    };
    if sockets.is_empty() {
        let text = format!("no capture runs with its control socket in {}", context.run_dir.display());
        return Err(Failure::text(Exit::Unreachable, text));
    }
    let ask = |socket: &std::path::PathBuf| Client::connect(socket)?.ask(Request::Mark { text: args.name.clone() });
    let answers: Vec<Value> = sockets.iter().map(ask).collect::<Done<_>>()?;
    if args.json {
        return print_json(&answers);
    }
    answers.iter().try_for_each(|answer| print(&format!("marked in capture {}: {:?}\n", answer["capture"], args.name)))
}
