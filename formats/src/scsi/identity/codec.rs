//! How the parts of an identity are written and read: flags, texts, lists, what may be absent.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use binrw::{BinRead, BinResult, BinWrite, Error};

/// A byte that has no meaning here.
fn bad(pos: u64, what: &str) -> Error {
    Error::AssertFail { pos, message: what.to_string() }
}

/// A byte with one of the values below `end`.
#[binrw::parser(reader, endian)]
fn below(end: u8) -> BinResult<u8> {
    let at = reader.stream_position()?;
    let value = u8::read_options(reader, endian, ())?;
    if value < end { Ok(value) } else { Err(bad(at, "a byte out of its range")) }
}

#[binrw::parser(reader, endian)]
pub(super) fn flag() -> BinResult<bool> {
    below(reader, endian, (2,)).map(|value| value == 1)
}

#[binrw::writer(writer, endian)]
pub(super) fn put_flag(value: &bool) -> BinResult<()> {
    u8::from(*value).write_options(writer, endian, ())
}

/// 0 not told, 1 off, 2 on.
#[binrw::parser(reader, endian)]
pub(super) fn cache() -> BinResult<Option<bool>> {
    below(reader, endian, (3,)).map(|value| value.checked_sub(1).map(|on| on == 1))
}

#[binrw::writer(writer, endian)]
pub(super) fn put_cache(value: &Option<bool>) -> BinResult<()> {
    value.map_or(0, |on| 1 + u8::from(on)).write_options(writer, endian, ())
}

/// Printable text of at most `most` bytes.
#[binrw::parser(reader, endian)]
pub(super) fn text(most: usize) -> BinResult<String> {
    let at = reader.stream_position()?;
    let len = u8::read_options(reader, endian, ())?;
    if usize::from(len) > most {
        return Err(bad(at, "a text that is too long"));
    }
    let mut bytes = alloc::vec![0; usize::from(len)];
    reader.read_exact(&mut bytes)?;
    let printable = bytes.iter().all(|byte| (0x20..0x7f).contains(byte));
    String::from_utf8(bytes).ok().filter(|_| printable).ok_or_else(|| bad(at, "a text that is not printable"))
}

#[binrw::writer(writer, endian)]
pub(super) fn put_text(value: &String) -> BinResult<()> {
    let at = writer.stream_position()?;
    let len = u8::try_from(value.len()).map_err(|_| bad(at, "a text that is too long"))?;
    len.write_options(writer, endian, ())?;
    Ok(writer.write_all(value.as_bytes())?)
}

/// A text that is there when it is not empty.
#[binrw::parser(reader, endian)]
pub(super) fn serial() -> BinResult<Option<String>> {
    let serial = text(reader, endian, (super::MAX_NAME,))?;
    Ok((!serial.is_empty()).then_some(serial))
}

#[binrw::writer(writer, endian)]
pub(super) fn put_serial(value: &Option<String>) -> BinResult<()> {
    put_text(value.as_ref().unwrap_or(&String::new()), writer, endian, ())
}

#[binrw::parser(reader, endian)]
pub(super) fn optional<T: for<'a> BinRead<Args<'a> = ()>>() -> BinResult<Option<T>> {
    if flag(reader, endian, ())? { T::read_options(reader, endian, ()).map(Some) } else { Ok(None) }
}

#[binrw::writer(writer, endian)]
pub(super) fn put_optional<T: for<'a> BinWrite<Args<'a> = ()>>(value: &Option<T>) -> BinResult<()> {
    put_flag(&value.is_some(), writer, endian, ())?;
    value.iter().try_for_each(|value| value.write_options(writer, endian, ()))
}

/// At most `most` of them, at most 255.
#[binrw::parser(reader, endian)]
pub(super) fn list<T: for<'a> BinRead<Args<'a> = ()>>(most: usize) -> BinResult<Vec<T>> {
    let at = reader.stream_position()?;
    let count = u8::read_options(reader, endian, ())?;
    if usize::from(count) > most {
        return Err(bad(at, "a list that is too long"));
    }
    (0..count).map(|_| T::read_options(reader, endian, ())).collect()
}

#[allow(clippy::ptr_arg, reason = "binrw hands over the field itself")]
#[binrw::writer(writer, endian)]
pub(super) fn put_list<T: for<'a> BinWrite<Args<'a> = ()>>(value: &Vec<T>) -> BinResult<()> {
    let at = writer.stream_position()?;
    let count = u8::try_from(value.len()).map_err(|_| bad(at, "a list that is too long"))?;
    count.write_options(writer, endian, ())?;
    value.iter().try_for_each(|value| value.write_options(writer, endian, ()))
}
