//! Who still needs what, and giving space back.

use formats::segment::{Cursor, MAX_COUNTER, MAX_CURSOR_NAME, MAX_CURSORS};

use crate::disk::Disk;
use crate::error::JournalError;
use crate::writer::Journal;

impl<D: Disk> Journal<D> {
    /// Up to which index the secondary of this name has everything.
    #[must_use]
    pub fn cursor(&self, name: &str) -> Option<u64> {
        self.cursors.iter().find(|cursor| cursor.name == name).map(|cursor| cursor.through)
    }

    /// All cursors.
    #[must_use]
    pub fn cursors(&self) -> &[Cursor] {
        &self.cursors
    }

    /// Says that the secondary `name` has everything up to `through`. A new name is made durable at once, so that
    /// nothing it needs is freed by a later run; a move becomes durable later, and never before the items themselves.
    /// A cursor never goes back: a smaller index changes nothing.
    ///
    /// # Errors
    /// [`JournalError::Index`] when `through` lies behind the end, or for a new name before the beginning;
    /// [`JournalError::Cursor`] when the name is empty or too long, or there are too many.
    pub fn set_cursor(&mut self, name: &str, through: u64) -> Result<(), JournalError> {
        self.check_alive()?;
        self.check_index(through, 0, self.written())?;
        match self.cursors.iter_mut().find(|cursor| cursor.name == name) {
            Some(cursor) => {
                cursor.through = cursor.through.max(through);
                Ok(())
            }
            None => self.add_cursor(name, through),
        }
    }

    fn add_cursor(&mut self, name: &str, through: u64) -> Result<(), JournalError> {
        self.check_index(through, self.first() - 1, self.written())?;
        let bad = |why| JournalError::Cursor { journal: self.shared.journal.clone(), name: name.into(), why };
        if !(1..=MAX_CURSOR_NAME).contains(&name.len()) {
            return Err(bad("a name has 1 to 64 bytes"));
        }
        if self.cursors.len() == MAX_CURSORS {
            return Err(bad("a journal has at most 32 cursors; remove one of a secondary that is gone"));
        }
        self.cursors.push(Cursor { name: name.into(), through });
        self.checkpoint()
    }

    /// Forgets a secondary, durably: nothing is kept for it any more. Says whether there was one.
    ///
    /// # Errors
    /// Of the disk; the journal is failed then.
    pub fn remove_cursor(&mut self, name: &str) -> Result<bool, JournalError> {
        self.check_alive()?;
        let before = self.cursors.len();
        self.cursors.retain(|cursor| cursor.name != name);
        if self.cursors.len() == before {
            return Ok(false);
        }
        self.checkpoint().map(|()| true)
    }

    /// Frees the segments that lie wholly at or below both `through` and all cursors; says what the first index is then.
    /// The segment being written stays. No disk is touched: a power cut may bring freed items back.
    pub fn trim(&mut self, through: u64) -> u64 {
        let limit = self.cursors.iter().map(|cursor| cursor.through).fold(through, u64::min);
        let mut table = self.shared.table();
        while table.live.len() > 1 && table.live[0].next - 1 <= limit {
            self.free.extend(table.live.pop_front().map(|segment| segment.slot));
        }
        table.first()
    }

    /// Drops all items and goes on with index `next`, durably. Cursors move with it: nothing is owed to anybody. For an
    /// overflow, a new stream, and as an answer to damage.
    ///
    /// # Errors
    /// [`JournalError::Index`] when `next` is 0 or beyond [`MAX_COUNTER`]; of the disk, then the journal is failed.
    pub fn discard_all(&mut self, next: u64) -> Result<(), JournalError> {
        self.check_alive()?;
        self.check_index(next, 1, MAX_COUNTER)?;
        self.forget_damage();
        self.drawn += 1;
        {
            let mut table = self.shared.table();
            table.live.clear();
            (table.next, table.durable) = (next, next - 1);
        }
        self.dirty.clear();
        self.free = (0..self.config.segments()).collect();
        self.cursors.iter_mut().for_each(|cursor| cursor.through = next - 1);
        self.checkpoint()
    }

    /// Drops all items and goes on with the index that would have been next.
    ///
    /// # Errors
    /// Of the disk; the journal is failed then.
    pub fn reset(&mut self) -> Result<(), JournalError> {
        self.discard_all(self.next())
    }

    fn check_index(&self, index: u64, least: u64, most: u64) -> Result<(), JournalError> {
        if (least..=most).contains(&index) {
            return Ok(());
        }
        Err(JournalError::Index { journal: self.shared.journal.clone(), index, allowed: least..=most })
    }
}
