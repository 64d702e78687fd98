use super::*;

#[test]
fn there_is_a_row_for_every_case() {
    for (primary, command, standby) in all_cases() {
        assert!(
            lookup(primary, command, standby).row().matches(primary, command, standby),
            "{primary:?} {command:?} {standby:?}"
        );
    }
}

#[test]
fn each_row_is_reached_by_its_own_example_and_none_is_shadowed() {
    for index in RowIndex::all() {
        let (primary, command, standby) = index.row().example.classify();
        let found = lookup(primary, command, standby);
        assert_eq!(found.row().id, index.row().id, "{primary:?} {command:?} {standby:?}");
    }
}

#[test]
fn names_are_unique_and_lead_back() {
    let names: BTreeSet<_> = ROWS.iter().map(|row| row.id).collect();
    assert_eq!(names.len(), ROWS.len());
    assert!(RowIndex::all().all(|index| RowIndex::named(index.row().id) == Some(index)));
    assert_eq!(RowIndex::named("no such row"), None);
}

#[test]
fn only_a_first_row_issues_and_only_later_ones_retry() {
    for (primary, command, standby) in all_cases() {
        let action = lookup(primary, command, standby).row().action;
        let first = standby == StandbyOutcome::NotIssued;
        match action {
            Action::Issue
            | Action::ReplayEffect
            | Action::ReproduceUnreadable
            | Action::ReRead(_)
            | Action::ByRule
            | Action::Skip => {
                assert!(first, "{primary:?} {command:?} {standby:?}: {action}");
            }
            Action::Stop(_) => {}
            _ => assert!(!first, "{primary:?} {command:?} {standby:?}: {action}"),
        }
    }
}

/// A tape cannot be healed by reading a region again, so nothing may be marked there.
#[test]
fn a_tape_is_never_out_of_sync_it_stops() {
    for (primary, command, standby) in all_cases() {
        if !matches!(command, CommandKind::TapeWrite | CommandKind::TapeMove) {
            continue;
        }
        let row = lookup(primary, command, standby).row();
        let last = match row.action {
            Action::Retry { last, .. } | Action::RetryAfterReadyPoll { last, .. } | Action::FallBack { last, .. } => {
                last
            }
            _ => Last::Stop(StopReason::TapePosition),
        };
        let named = primary == PrimaryOutcome::UaStateChanged && standby == StandbyOutcome::NotIssued;
        assert!(last != Last::OutOfSync && (named || !row.effect.leaves_hole()), "{}", row.id);
    }
}

/// Law: nothing silent. An error of the standby's device ends in `applied` only where it is none.
#[test]
fn an_error_of_the_standby_is_never_passed_over() {
    use StandbyOutcome as S;
    for (primary, command, standby) in all_cases() {
        let row = lookup(primary, command, standby).row();
        let well = matches!(standby, S::Good | S::Recovered);
        let tape = matches!(standby, S::EarlyWarning | S::Filemark | S::IncorrectLength | S::BlankCheck | S::Residual);
        let no_cache = command == CommandKind::Flush;
        if row.action == Action::Done {
            assert!(well || tape || no_cache, "{}: {primary:?} {command:?} {standby:?}", row.id);
        }
    }
}

#[test]
fn what_changed_nothing_on_the_primary_leaves_no_hole() {
    for primary in [
        PrimaryOutcome::Busy,
        PrimaryOutcome::ReservationConflict,
        PrimaryOutcome::NotReady,
        PrimaryOutcome::WriteProtected,
    ] {
        for &command in CommandKind::ALL {
            assert_eq!(first_row(primary, command).row().effect, Effect::Unchanged);
        }
    }
}

#[test]
fn patterns_print_their_words() {
    assert_eq!(Pattern::<CommandKind>::Any.to_string(), "any");
    assert_eq!(Pattern::These(&[CommandKind::Read, CommandKind::Flush]).to_string(), "read; flush");
    assert_eq!(TAPE.to_string(), "any tape command");
}
