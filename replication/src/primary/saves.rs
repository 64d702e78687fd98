//! What of the dirty map is saved, and which positions may be freed because of it.
//!
//! Every change makes a new generation. A position whose marks are in a generation that is not saved holds the cursor
//! back; a position that the map covers lets it go on once that generation is saved.

use formats::Position;

use crate::mutation::{self, Mutation};

#[derive(Clone, Debug)]
pub(super) struct Saves {
    generation: u64,
    saved: u64,
    /// First position that left a hole since the last snapshot.
    hole: Option<Position>,
    /// First position that left a hole before the snapshot of this generation, which is being saved.
    saving_hole: Option<(Position, u64)>,
    /// Positions up to this are covered by the map of this generation.
    cover: Option<(Position, u64)>,
    covered: Position,
}

impl Default for Saves {
    /// Nothing of the state at start counts as saved: the live epochs may have been added to it.
    fn default() -> Self {
        Self { generation: 1, saved: 0, hole: None, saving_hole: None, cover: None, covered: Position(0) }
    }
}

impl Saves {
    pub(super) fn changed(&mut self) {
        self.generation += 1;
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn is_saved(&self, generation: u64) -> bool {
        self.saved >= generation
    }

    /// The entry at `position` has made marks that are needed once the journal does not hold it any more.
    pub(super) fn hole(&mut self, position: Position) {
        if !self.is_saved(self.generation) && !mutation::is(Mutation::ForgetUnsavedHoles) {
            self.hole = Some(self.hole.map_or(position, |first| first.min(position)));
        }
    }

    /// The map now stands for everything up to `through`.
    pub(super) fn covered(&mut self, through: Position) {
        self.changed();
        self.cover = Some((through, self.generation));
        if mutation::is(Mutation::ClearUnsaved) {
            self.covered = through;
        }
    }

    /// The state is being saved; answers its generation.
    pub(super) fn snapshot(&mut self) -> u64 {
        if let Some(hole) = self.hole.take() {
            let first = self.saving_hole.map_or(hole, |(first, _)| first.min(hole));
            self.saving_hole = Some((first, self.generation));
        }
        self.generation
    }

    pub(super) fn saved(&mut self, generation: u64) {
        self.saved = self.saved.max(generation.min(self.generation));
        self.saving_hole = self.saving_hole.filter(|&(_, needed)| needed > self.saved);
        if let Some((through, _)) = self.cover.filter(|&(_, needed)| needed <= self.saved) {
            self.covered = self.covered.max(through);
            self.cover = None;
        }
    }

    /// Whether the cursor waits for a save.
    pub(super) fn is_urgent(&self) -> bool {
        self.hole.is_some() || self.saving_hole.is_some() || self.cover.is_some()
    }

    /// Up to where positions may be freed when the secondary holds everything up to `durable`.
    pub(super) fn cursor(&self, durable: Position) -> Position {
        let holes = self.hole.into_iter().chain(self.saving_hole.map(|(first, _)| first));
        let below = holes.map(Position::previous).fold(durable, Position::min);
        below.max(self.covered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_holds_the_cursor_until_its_marks_are_saved() {
        let mut saves = Saves::default();
        saves.changed();
        saves.hole(Position(5));
        assert_eq!(saves.cursor(Position(9)), Position(4));
        let first = saves.snapshot();
        saves.changed();
        saves.hole(Position(8));
        saves.saved(first);
        assert_eq!(saves.cursor(Position(9)), Position(7));
        let second = saves.snapshot();
        saves.saved(second);
        assert_eq!(saves.cursor(Position(9)), Position(9));
        assert!(!saves.is_urgent());
    }

    #[test]
    fn a_cover_counts_once_it_is_saved() {
        let mut saves = Saves::default();
        saves.covered(Position(7));
        assert_eq!(saves.cursor(Position(2)), Position(2));
        let generation = saves.snapshot();
        saves.saved(generation);
        assert_eq!(saves.cursor(Position(2)), Position(7));
    }
}
