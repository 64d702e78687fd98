use super::*;

#[test]
fn the_state_is_one_word_and_never_a_guess() {
    let well = Facts { stopped: None, data: DataState::Consistent, holes: false, connected: true, behind: false };
    let word = |facts: Facts<'_>| StateWord::judge(&facts).to_string();
    assert_eq!(word(well), "UpToDate");
    assert_eq!(word(Facts { behind: true, ..well }), "Outdated");
    assert_eq!(word(Facts { connected: false, ..well }), "Outdated");
    assert_eq!(word(Facts { holes: true, behind: true, ..well }), "Inconsistent");
    assert_eq!(word(Facts { data: DataState::Blank, ..well }), "Inconsistent");
    assert_eq!(word(Facts { stopped: Some("device gone"), holes: true, ..well }), "Stopped: device gone");
}
