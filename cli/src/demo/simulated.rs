//! placeholder
use super::report::Report;
use crate::args::Demo;
use crate::exit::Done;
use crate::signals::Stop;
pub(super) fn run(_: &Demo, _: &Stop) -> Done<Report> {
    Ok(Report::default())
}
