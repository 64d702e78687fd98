//! One command while it is executed: its fields, and the data that goes with it.

use formats::scsi::{Decoded, FieldName, Outcome, Row};

use super::answer::{Answer, invalid_field, overrun};
use crate::scsi::Data;

/// A command in execution.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// The CDB.
    pub(super) command: Decoded,
    /// Who sent it.
    pub(super) nexus: usize,
    data: Data<'a>,
    moved: usize,
}

impl<'a> Call<'a> {
    pub(super) const fn new(command: Decoded, nexus: usize, data: Data<'a>) -> Self {
        Self { command, nexus, data, moved: 0 }
    }

    /// Its row in the opcode table.
    pub(super) fn row(&self) -> Option<&'static Row> {
        self.command.row()
    }

    /// A field's value; 0 where the command has none of this name.
    pub(super) fn get(&self, field: FieldName) -> u64 {
        self.command.get(field).unwrap_or(0)
    }

    /// Whether a flag is there and set.
    pub(super) fn flag(&self, field: FieldName) -> bool {
        self.command.flag(field)
    }

    /// INVALID FIELD IN CDB for a field.
    pub(super) fn refuse(&self, field: FieldName) -> Outcome {
        let place = self.row().and_then(|row| row.field(field));
        place.map_or(invalid_field(1, None), |place| invalid_field(place.byte, Some(place.high)))
    }

    /// Refuses the command when a field is not zero.
    pub(super) fn must_be_zero(&self, field: FieldName) -> Answer {
        if self.flag(field) { Err(self.refuse(field)) } else { Ok(()) }
    }

    /// Bytes that the caller gives or takes.
    pub(super) fn total(&self) -> usize {
        match &self.data {
            Data::None => 0,
            Data::Out(bytes) => bytes.len(),
            Data::In(room) => room.len(),
        }
    }

    /// Bytes that were not moved.
    pub(super) fn residual(&self) -> u32 {
        u32::try_from(self.total().saturating_sub(self.moved)).unwrap_or(u32::MAX)
    }

    /// Takes `need` bytes of data-out.
    ///
    /// # Errors
    /// There are fewer: the transport ends the command.
    pub(super) fn take(&mut self, need: u64) -> Answer<&'a [u8]> {
        if need == 0 {
            return Ok(&[]);
        }
        let Data::Out(bytes) = self.data else { return Err(overrun()) };
        let need = usize::try_from(need).map_err(|_| overrun())?;
        let taken = bytes.get(..need).ok_or_else(overrun)?;
        self.moved = need;
        Ok(taken)
    }

    /// Takes the parameter list, as long as the CDB's length field says.
    pub(super) fn take_list(&mut self) -> Answer<&'a [u8]> {
        self.take(self.get(FieldName::Length))
    }

    /// Data-out before it is taken: for those who only look.
    pub(super) const fn peek(&self) -> &'a [u8] {
        match self.data {
            Data::Out(bytes) => bytes,
            _ => &[],
        }
    }

    /// Returns up to `allocation` of these bytes, as far as the caller has room.
    pub(super) fn give(&mut self, bytes: &[u8], allocation: u64) {
        let allocation = usize::try_from(allocation).unwrap_or(usize::MAX);
        let Data::In(room) = &mut self.data else { return };
        let len = bytes.len().min(room.len()).min(allocation);
        room[..len].copy_from_slice(&bytes[..len]);
        self.moved = len;
    }

    /// Returns these bytes, up to the ALLOCATION LENGTH.
    pub(super) fn reply(&mut self, bytes: &[u8]) {
        self.give(bytes, self.get(FieldName::Length));
    }

    /// The caller's room for data-in, up to `need` bytes, all of which count as returned until [`Self::moved`] is told.
    pub(super) fn room(&mut self, need: u64) -> &mut [u8] {
        let Data::In(room) = &mut self.data else { return &mut [] };
        let len = usize::try_from(need).unwrap_or(usize::MAX).min(room.len());
        self.moved = len;
        &mut room[..len]
    }

    /// How many bytes were moved after all.
    pub(super) const fn moved(&mut self, bytes: usize) {
        self.moved = bytes;
    }
}
