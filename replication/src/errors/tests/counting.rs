use super::*;

/// A command with the primary's outcome of the example, answered as the standby of the example answers.
fn walk(example: &Example, counters: &mut RowCounters) {
    let policy = Policy { reproduce_unreadable: true, opaque: OpaqueRule::Issue, ..Policy::default() };
    let (primary, command, standby) = example.classify();
    let (mut replay, step) = CommandReplay::begin(policy, command, primary, 0, Now::ZERO, counters);
    if let Step::Issue { at, .. } = step
        && standby != StandbyOutcome::NotIssued
    {
        replay.handle(at, Event::Answered(standby), counters).expect("it waits for an answer");
    }
}

#[test]
fn commands_walk_over_every_row() {
    let mut counters = RowCounters::default();
    ROWS.iter().for_each(|row| walk(&row.example, &mut counters));
    let missing: Vec<_> = counters.missing().map(|row| row.row().id).collect();
    assert!(missing.is_empty(), "{missing:?}\n{}", counters.listing());
}

#[test]
fn the_listing_names_every_row_and_what_is_missing() {
    let mut counters = RowCounters::default();
    RowIndex::all().skip(1).for_each(|row| counters.hit(row));
    let text = counters.listing().to_string();
    assert!(ROWS.iter().all(|row| text.contains(row.id)));
    let last = text.lines().last().unwrap();
    assert_eq!(last, alloc::format!("{} of {} rows reached, 1 missing", ROWS.len() - 1, ROWS.len()));
    let mut all = RowCounters::default();
    all.hit(RowIndex::named("issue").unwrap());
    all.add(&counters);
    assert_eq!(all.missing().count(), 0);
}
