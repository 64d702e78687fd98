//! Asking a device who it is, before the first command that changes anything.
//!
//! [`read`] asks for INQUIRY and its vital product data pages (00h, 80h, 83h, B0h, B1h, B2h), READ CAPACITY(10) and (16), the
//! Caching and Control mode pages, and persistent reservations. What it says is checked against the bytes that came. All of
//! it changes nothing on the device, except that a unit attention is told once only: see [`read_hearing`].

use std::io;
use std::thread::sleep;
use std::time::Duration;

use formats::scsi::build::{self, Access, ModePage, ReserveIn};
use formats::scsi::identity::{Capacity, Identity, Modes, Reservations, parse};
use formats::scsi::{Cdb, DeviceType, Outcome};
use replication::errors::StandbyOutcome;
use thiserror::Error;

use crate::sg::errno;
use crate::{Data, Request, ScsiDevice};

/// For each of these commands.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Unit attentions that are heard out before a device is given up; a device queues one for each thing that happened.
const ATTENTIONS: u32 = 32;
/// Waits for a device that is busy or becomes ready, some twenty seconds in all, and attempts at one in trouble.
const WAITS: u32 = 100;
const TROUBLES: u32 = 6;
/// The longest wait; the first is a millisecond, and each is twice the one before.
const WAIT: Duration = Duration::from_millis(200);
/// Largest mode data that MODE SENSE(6) is asked for: what all devices take (drivers/scsi/sd.c asks for no more).
const MODE_DATA: u8 = 192;
/// Bytes for lists: pages and registered keys. More is cut off.
const LIST: u16 = 4096;

/// Why a device's identity could not be read, or is not believed.
#[derive(Error, Debug)]
pub enum ProbeError {
    /// The command could not be handed to it.
    #[error(transparent)]
    Device(#[from] io::Error),
    /// It is not ready, or told unit attentions without end.
    #[error("the device is not ready: {answer}; make it ready (sg_start, or wait) and try again")]
    NotReady {
        /// Its last answer.
        answer: Outcome,
    },
    /// It did not answer what every device must.
    #[error("the device does not answer {command}: {answer}; check the device (sg_inq, kernel log)")]
    Failed {
        /// The command.
        command: &'static str,
        /// Its answer.
        answer: Outcome,
    },
    /// It answered with fewer bytes than the answer has.
    #[error("the device answers {command} with {have} bytes, which is too few; check the device")]
    Short {
        /// The command.
        command: &'static str,
        /// Bytes that came.
        have: usize,
    },
    /// No logical unit behind this address.
    #[error("no logical unit is connected at this address (INQUIRY byte 0 is {0:#04x}); check the LUN")]
    NoUnit(u8),
    /// It says two different sizes.
    #[error("READ CAPACITY(10) says {ten} blocks and READ CAPACITY(16) {sixteen}: do not use a device that lies")]
    TwoCapacities {
        /// What the one said.
        ten: u64,
        /// What the other said.
        sixteen: u64,
    },
    /// A block that it says it has cannot be read.
    #[error(
        "the device says that it has {blocks} blocks, but the last one cannot be read: {answer}; it lies about its \
         capacity, or its end is defective: use another"
    )]
    LastBlock {
        /// Blocks it says it has.
        blocks: u64,
        /// What it answered.
        answer: Outcome,
    },
    /// A size that no medium has.
    #[error("the device says that it has {blocks} blocks of {block_size} bytes, which cannot be; use another")]
    Impossible {
        /// Blocks it says it has.
        blocks: u64,
        /// Bytes of one.
        block_size: u32,
    },
}

/// What an answer is worth.
enum Turn {
    Done,
    AtOnce,
    Later,
    /// Perhaps: a failure that says nothing of the command.
    Trouble,
    /// The device does not have it, or lets others not see it.
    Absent,
    Failed,
}

/// The wait before the attempt with this number.
fn pause(attempt: u32) {
    sleep(Duration::from_millis(1 << attempt.min(10)).min(WAIT));
}

fn turn(answer: &Outcome) -> Turn {
    use StandbyOutcome as S;
    match StandbyOutcome::classify(answer) {
        // Fewer bytes than there was room for: what most devices return of a page.
        S::Good | S::Recovered | S::Residual => Turn::Done,
        S::UaPowerOn
        | S::UaReset
        | S::UaMediumChanged
        | S::UaModeChanged
        | S::UaLogChanged
        | S::UaReservationsPreempted
        | S::UaReservationsReleased
        | S::UaRegistrationsPreempted
        | S::UaAccessChanged
        | S::UaCapacityChanged
        | S::UaInquiryChanged
        | S::UaIdentityChanged
        | S::UaLunsChanged
        | S::UaMicrocodeChanged
        | S::UaThinSoft
        | S::UaCommandsCleared
        | S::UaOther
        | S::HostReset
        | S::ImmRetry => Turn::AtOnce,
        S::Busy
        | S::TaskSetFull
        | S::AcaActive
        | S::BusBusy
        | S::Requeue
        | S::NotReadyBecoming
        | S::NotReadyTransition
        | S::NotReadyInProgress => Turn::Later,
        S::IllegalOpcode
        | S::IllegalFieldInCdb
        | S::IllegalParameterList
        | S::IllegalOther
        | S::ReservationConflict => Turn::Absent,
        S::MediumErrorRead
        | S::MediumErrorWrite
        | S::LbaOutOfRange
        | S::LunNotSupported
        | S::NotReadyStopped
        | S::NotReadyManual
        | S::NotReadyNoMedium
        | S::NotReadyOther
        | S::NotReadyStandbyPort
        | S::NotReadyUnavailablePort
        | S::DeviceGone => Turn::Failed,
        _ => Turn::Trouble,
    }
}

/// A device that is asked, and the unit attentions that it told meanwhile: each is told once only.
struct Asked<'a> {
    device: &'a dyn ScsiDevice,
    heard: Vec<StandbyOutcome>,
}

impl<'a> Asked<'a> {
    const fn new(device: &'a dyn ScsiDevice) -> Self {
        Self { device, heard: Vec::new() }
    }

    /// Issues a command until it is answered for good; whether that is a success, and the answer.
    fn ask(&mut self, cdb: &Cdb, buffer: &mut [u8]) -> io::Result<(bool, Outcome)> {
        let (mut attentions, mut waits, mut troubles) = (0, 0, 0);
        loop {
            let data = if buffer.is_empty() { Data::None } else { Data::In(buffer) };
            let answer = self.device.execute(Request { cdb, data, timeout: TIMEOUT })?;
            let nothing = !buffer.is_empty() && answer.residual as usize >= buffer.len();
            match turn(&answer) {
                // Done, it says, and returns nothing: it may have been interrupted.
                Turn::Done if nothing && troubles < TROUBLES => {
                    pause(troubles);
                    troubles += 1;
                }
                Turn::Done => return Ok((true, answer)),
                Turn::AtOnce if attentions < ATTENTIONS => {
                    attentions += 1;
                    self.heard.push(StandbyOutcome::classify(&answer));
                }
                Turn::Later if waits < WAITS => {
                    pause(waits);
                    waits += 1;
                }
                Turn::Trouble if troubles < TROUBLES => {
                    pause(troubles);
                    troubles += 1;
                }
                _ => return Ok((false, answer)),
            }
        }
    }

    /// What a command returns, as far as the residual says it came; the answer when it failed.
    fn fetch(&mut self, cdb: &Cdb, room: usize) -> io::Result<Result<Vec<u8>, Outcome>> {
        let mut buffer = vec![0; room];
        let (good, answer) = self.ask(cdb, &mut buffer)?;
        buffer.truncate(room.saturating_sub(answer.residual as usize));
        Ok(if good { Ok(buffer) } else { Err(answer) })
    }

    /// What a command returns that not every device has.
    fn fetch_optional(&mut self, command: &'static str, cdb: &Cdb, room: u16) -> Result<Option<Vec<u8>>, ProbeError> {
        match self.fetch(cdb, usize::from(room))? {
            Ok(data) => Ok(Some(data)),
            Err(answer) if matches!(turn(&answer), Turn::Absent) => Ok(None),
            Err(answer) => Err(ProbeError::Failed { command, answer }),
        }
    }

    fn settle(&mut self) -> Result<(), ProbeError> {
        match self.ask(&build::test_unit_ready(), &mut [])? {
            (true, _) => Ok(()),
            (false, answer) => Err(ProbeError::NotReady { answer }),
        }
    }
}

/// TEST UNIT READY until the device is quiet: the unit attentions from before are heard out, and it is ready.
///
/// # Errors
/// It does not become so within some twenty seconds, or is gone.
pub fn settle(device: &dyn ScsiDevice) -> Result<(), ProbeError> {
    Asked::new(device).settle()
}

/// Unit attentions that were told while a device was asked, in order.
pub type Heard = Vec<StandbyOutcome>;

/// Reads a device's identity. Unit attentions are heard out first.
///
/// # Errors
/// The device does not answer what every one must, is not ready, or contradicts itself.
pub fn read(device: &dyn ScsiDevice) -> Result<Identity, ProbeError> {
    read_hearing(device).map(|(identity, _)| identity)
}

/// The same, with the unit attentions that were told meanwhile, in order: nobody else will hear of them.
///
/// # Errors
/// As [`read`].
pub fn read_hearing(device: &dyn ScsiDevice) -> Result<(Identity, Heard), ProbeError> {
    let mut asked = Asked::new(device);
    let identity = read_by(&mut asked)?;
    Ok((identity, asked.heard))
}

fn read_by(device: &mut Asked<'_>) -> Result<Identity, ProbeError> {
    let mut identity = inquiry(device)?;
    device.settle()?;
    let pages = vpd(device, 0x00)?.unwrap_or_default();
    let mut page = |code: u8| if pages.contains(&code) { vpd(device, code) } else { Ok(None) };
    identity.serial = page(0x80)?.and_then(|data| parse::serial(&data));
    identity.designators = page(0x83)?.map(|data| parse::designators(&data)).unwrap_or_default();
    if identity.kind().is_block_device() {
        identity.limits = page(0xb0)?.map(|data| parse::limits(&data));
        identity.characteristics = page(0xb1)?.map(|data| parse::characteristics(&data));
        identity.provisioning = page(0xb2)?.map(|data| parse::provisioning(&data));
        identity.capacity = Some(capacity(device)?);
    }
    identity.modes = modes(device, identity.kind())?;
    identity.reservations = reservations(device)?;
    Ok(identity)
}

fn inquiry(device: &mut Asked<'_>) -> Result<Identity, ProbeError> {
    let command = "INQUIRY";
    let data = device.fetch(&build::inquiry(None, 36), 36)?;
    let data = data.map_err(|answer| ProbeError::Failed { command, answer })?;
    match data.first() {
        None => Err(ProbeError::Short { command, have: 0 }),
        Some(first) if !parse::is_present(&data) => Err(ProbeError::NoUnit(*first)),
        Some(_) => Ok(parse::inquiry(&data)),
    }
}

fn vpd(device: &mut Asked<'_>, code: u8) -> Result<Option<Vec<u8>>, ProbeError> {
    let data = device.fetch_optional("INQUIRY of a page", &build::inquiry(Some(code), LIST), LIST)?;
    Ok(data.and_then(|data| parse::page(code, &data).map(<[u8]>::to_vec)))
}

fn capacity(device: &mut Asked<'_>) -> Result<Capacity, ProbeError> {
    let ten = device.fetch(&build::read_capacity_10(), 8)?;
    let sixteen = device.fetch_optional("READ CAPACITY(16)", &build::read_capacity_16(32), 32)?;
    let sixteen = sixteen.and_then(|data| parse::capacity_16(&data));
    let narrow = match (&ten, sixteen) {
        (Ok(data), _) => parse::capacity_10(data),
        (Err(_), Some(_)) => None,
        (Err(answer), None) => return Err(ProbeError::Failed { command: "READ CAPACITY(10)", answer: *answer }),
    };
    let capacity = match (narrow, sixteen) {
        (Some(ten), Some(sixteen)) if ten.blocks != sixteen.blocks => {
            return Err(ProbeError::TwoCapacities { ten: ten.blocks, sixteen: sixteen.blocks });
        }
        (_, Some(found)) | (Some(found), None) => found,
        (None, None) => {
            let have = ten.map_or(0, |data| data.len());
            return Err(ProbeError::Short { command: "READ CAPACITY(16)", have });
        }
    };
    let Capacity { blocks, block_size, .. } = capacity;
    let possible = block_size.is_power_of_two() && (256..=1 << 20).contains(&block_size) && capacity.bytes().is_some();
    if possible { Ok(capacity) } else { Err(ProbeError::Impossible { blocks, block_size }) }
}

fn modes(device: &mut Asked<'_>, kind: DeviceType) -> Result<Modes, ProbeError> {
    let mut modes = Modes::default();
    let disk = kind.is_block_device();
    if let Some((parameter, page)) = mode_page(device, 0x0a)? {
        modes.control = Some(parse::control(&page));
        (modes.write_protected, modes.fua) = (parameter & 0x80 != 0, disk && parameter & 0x10 != 0);
    }
    if disk && let Some((parameter, page)) = mode_page(device, 0x08)? {
        modes.write_cache = Some(parse::write_cache(&page));
        (modes.write_protected, modes.fua) = (parameter & 0x80 != 0, parameter & 0x10 != 0);
    }
    Ok(modes)
}

/// By MODE SENSE(6), or (10) where that is not taken.
fn mode_page(device: &mut Asked<'_>, code: u8) -> Result<Option<(u8, Vec<u8>)>, ProbeError> {
    let page = ModePage { page: code, dbd: true, ..ModePage::default() };
    let found =
        |ten, data: &[u8]| parse::mode_page(ten, code, data).map(|(parameter, page)| (parameter, page.to_vec()));
    let room = u16::from(MODE_DATA);
    let six = device.fetch_optional("MODE SENSE(6)", &build::mode_sense_6(page, MODE_DATA), room)?;
    if let Some(found) = six.and_then(|data| found(false, &data)) {
        return Ok(Some(found));
    }
    let ten = device.fetch_optional("MODE SENSE(10)", &build::mode_sense_10(page, room), room)?;
    Ok(ten.and_then(|data| found(true, &data)))
}

fn reservations(device: &mut Asked<'_>) -> Result<Option<Reservations>, ProbeError> {
    let keys = reserve_in(device, ReserveIn::ReadKeys)?;
    let held = reserve_in(device, ReserveIn::ReadReservation)?;
    Ok(keys.zip(held).map(|(keys, held)| parse::reservations(&keys, &held)))
}

/// The kernel lets nobody without CAP_SYS_RAWIO ask this (`scsi_cmd_allowed`): then it is not told.
fn reserve_in(device: &mut Asked<'_>, what: ReserveIn) -> Result<Option<Vec<u8>>, ProbeError> {
    match device.fetch_optional("PERSISTENT RESERVE IN", &build::persistent_reserve_in(what, LIST), LIST) {
        Err(ProbeError::Device(error)) if errno(&error) == Some(libc::EPERM) => Ok(None),
        told => told,
    }
}

/// Reads the last block that the device says it has: one that lies about its size would take the copy and lose its end.
///
/// # Errors
/// It cannot be read.
pub fn check_last_block(device: &dyn ScsiDevice, identity: &Identity) -> Result<(), ProbeError> {
    let Some(capacity) = identity.capacity else { return Ok(()) };
    let (blocks, room) = (capacity.blocks, capacity.block_size as usize);
    let read = build::read(blocks.saturating_sub(1), 1, Access::default());
    match Asked::new(device).fetch(&read, room)? {
        Ok(data) if data.len() == room => Ok(()),
        Ok(data) => Err(ProbeError::Short { command: "READ of the last block", have: data.len() }),
        Err(answer) => Err(ProbeError::LastBlock { blocks, answer }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of a device that says anything at all: a multiple of the place, and so many bytes of it.
    struct Noise(u8, usize);

    impl ScsiDevice for Noise {
        fn execute(&self, request: Request<'_>) -> io::Result<Outcome> {
            if let Data::In(buffer) = request.data {
                let len = buffer.len();
                buffer.iter_mut().enumerate().for_each(|(at, byte)| *byte = self.0.wrapping_mul(at as u8 | 1));
                buffer[0] = 0;
                return Ok(Outcome { residual: len.saturating_sub(self.1) as u32, ..Outcome::GOOD });
            }
            Ok(Outcome::GOOD)
        }
    }

    #[test]
    fn noise_never_panics() {
        for byte in 0..=u8::MAX {
            // Nothing at all is waited for.
            for len in [1, 5, 8, 13, 36, 255, 4096].into_iter().chain((byte == 0).then_some(0)) {
                let _ = read(&Noise(byte, len)).map(|identity| identity.carried());
            }
        }
    }
}
