//! WRITE BUFFER and READ BUFFER: data in the device's memory, and new microcode.

use formats::scsi::FieldName;

use super::answer::Answer;
use super::attention::MICROCODE_CHANGED;
use super::call::Call;
use super::unit::Unit;

/// Bytes of the buffer.
const CAPACITY: usize = 64 << 10;
/// MODE: data; descriptor; download microcode and activate it, in one piece or several, saved or not.
const DATA: u64 = 0x02;
const DESCRIPTOR: u64 = 0x03;
const MICROCODE: [u64; 4] = [0x04, 0x05, 0x06, 0x07];

/// The memory.
#[derive(Debug)]
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    pub(super) fn new() -> Self {
        Self(vec![0; CAPACITY])
    }
}

/// Bytes from the offset on, as many as the command moves.
fn place(call: &Call<'_>) -> Answer<std::ops::Range<usize>> {
    let (at, len) = (call.get(FieldName::BufferOffset), call.get(FieldName::Length));
    let end = at.checked_add(len).filter(|end| *end <= CAPACITY as u64);
    end.map(|end| at as usize..end as usize).ok_or_else(|| call.refuse(FieldName::BufferOffset))
}

/// WRITE BUFFER. New microcode is taken, forgotten, and told to the other initiators.
pub(super) fn write_buffer(unit: &mut Unit, call: &mut Call<'_>) -> Answer {
    call.must_be_zero(FieldName::BufferId)?;
    match call.get(FieldName::Mode) {
        DATA => {
            let place = place(call)?;
            let data = call.take_list()?;
            unit.buffer.0[place].copy_from_slice(data);
        }
        mode if MICROCODE.contains(&mode) => {
            call.take_list()?;
            unit.attend_others(call.nexus, MICROCODE_CHANGED);
        }
        _ => return Err(call.refuse(FieldName::Mode)),
    }
    Ok(())
}

/// READ BUFFER.
pub(super) fn read_buffer(unit: &mut Unit, call: &mut Call<'_>) -> Answer {
    call.must_be_zero(FieldName::BufferId)?;
    match call.get(FieldName::Mode) {
        DATA => {
            let place = place(call)?;
            call.reply(&unit.buffer.0[place]);
        }
        DESCRIPTOR => call.reply(&(CAPACITY as u32).to_be_bytes()),
        _ => return Err(call.refuse(FieldName::Mode)),
    }
    Ok(())
}
