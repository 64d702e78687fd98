//! Orders to a simulated device from outside, one on a line: which command is to go wrong, and how.
//!
//! ```text
//! once OPCODE STATUS RESIDUAL SENSE     the next command of this operation code is not executed and ends so
//! always OPCODE STATUS RESIDUAL SENSE   each one, until `clear`
//! late OPCODE                           the next one is executed and answered after its initiator gave up
//! clear                                 forget all of these
//! ```
//!
//! Numbers are hexadecimal but for the residual; SENSE is as many bytes as there are, or `-`. Each line is answered with
//! `ok`, or with what is wrong with it.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use formats::scsi::{Outcome, ScsiStatus};
use replayer::scsi::simulated::{Reaction, Selector, SimulatedDevice, Times};
use thiserror::Error;

/// Longer than any initiator waits.
const LATE: Duration = Duration::from_secs(1 << 20);

/// A line that is no order.
#[derive(Error, Debug, PartialEq, Eq)]
pub enum OrderError {
    /// Its first word.
    #[error("no order begins with `{0}`; known are once, always, late and clear")]
    Unknown(String),
    /// There are too few words.
    #[error("`{0}` is cut short")]
    Short(String),
    /// A word that is no number.
    #[error("`{0}` is no number")]
    Number(String),
}

/// Listens for orders at this path, in a thread of its own that ends with the process.
///
/// # Errors
/// When the socket cannot be made.
pub fn listen(path: &Path, device: SimulatedDevice) -> io::Result<()> {
    let listener = UnixListener::bind(path)?;
    std::thread::spawn(move || {
        for caller in listener.incoming().map_while(Result::ok) {
            // A caller that is gone before its answer needs none.
            let _ = serve(&caller, &device);
        }
    });
    Ok(())
}

fn serve(mut caller: &UnixStream, device: &SimulatedDevice) -> io::Result<()> {
    for line in BufReader::new(caller).lines() {
        match obey(&line?, device) {
            Ok(()) => caller.write_all(b"ok\n")?,
            Err(error) => caller.write_all(format!("{error}\n").as_bytes())?,
        }
    }
    Ok(())
}

/// Does what a line says.
///
/// # Errors
/// When it says nothing that is known.
pub fn obey(line: &str, device: &SimulatedDevice) -> Result<(), OrderError> {
    let mut words = line.split_whitespace();
    let order = words.next().unwrap_or_default();
    let mut next = || words.next().ok_or_else(|| OrderError::Short(line.to_owned()));
    let (times, reaction) = match order {
        "clear" => {
            device.clear_rules();
            return Ok(());
        }
        "late" => (Times::First(1), Reaction::Late { by: LATE, executed: true }),
        "once" => (Times::First(1), Reaction::Instead(Outcome::GOOD)),
        "always" => (Times::Always, Reaction::Instead(Outcome::GOOD)),
        other => return Err(OrderError::Unknown(other.to_owned())),
    };
    let selector = Selector::opcodes(&[byte(next()?)?]);
    let reaction = match reaction {
        Reaction::Instead(_) => Reaction::Instead(outcome(next()?, next()?, next()?)?),
        reaction => reaction,
    };
    device.add_rule(selector, times, reaction);
    Ok(())
}

fn byte(word: &str) -> Result<u8, OrderError> {
    u8::from_str_radix(word, 16).map_err(|_| OrderError::Number(word.to_owned()))
}

fn outcome(status: &str, residual: &str, sense: &str) -> Result<Outcome, OrderError> {
    let no_number = |word: &str| OrderError::Number(word.to_owned());
    let bare = Outcome {
        status: ScsiStatus::from_byte(byte(status)?),
        residual: residual.parse().map_err(|_| no_number(residual))?,
        ..Outcome::GOOD
    };
    if sense == "-" {
        return Ok(bare);
    }
    let pair = |at| sense.get(at..at + 2).ok_or_else(|| no_number(sense)).and_then(byte);
    let bytes = (0..sense.len()).step_by(2).map(pair).collect::<Result<Vec<_>, _>>()?;
    bare.with_sense(&bytes).map_err(|_| no_number(sense))
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::scsi::build::{self, Access};
    use formats::scsi::{Asc, SenseKey};
    use replayer::scsi::simulated::Settings;
    use replayer::scsi::{Data, Request, ScsiDevice};

    fn device() -> SimulatedDevice {
        SimulatedDevice::new(Settings::disk(512, 8)).expect("in memory")
    }

    fn read(device: &SimulatedDevice) -> Outcome {
        let (cdb, mut room) = (build::read_10(0, 1, Access::default()), [0; 512]);
        let request = Request { cdb: &cdb, data: Data::In(&mut room), timeout: Duration::from_secs(1) };
        device.nexus().execute(request).expect("it is there")
    }

    #[test]
    fn a_command_ends_as_ordered() {
        let device = device();
        obey("once 28 02 0 700003000000000a00000000110000000000", &device).expect("an order");
        let sense = read(&device).sense.expect("there is sense");
        assert_eq!((sense.key, sense.asc), (SenseKey::MediumError, Asc::new(0x11, 0)));
        assert_eq!(read(&device), Outcome::GOOD);
        obey("always 28 00 512 -", &device).expect("an order");
        assert_eq!((read(&device).residual, read(&device).residual), (512, 512));
        obey("clear", &device).expect("an order");
        assert_eq!(read(&device), Outcome::GOOD);
        obey("late 28", &device).expect("an order");
        assert_eq!(read(&device).host, formats::scsi::HostStatus::TimeOut);
    }

    #[test]
    fn other_lines_are_none() {
        let device = device();
        let refused = |line: &str| obey(line, &device).expect_err("no order");
        assert_eq!(refused("often 28"), OrderError::Unknown("often".to_owned()));
        assert_eq!(refused(""), OrderError::Unknown(String::new()));
        assert_eq!(refused("once 28 02"), OrderError::Short("once 28 02".to_owned()));
        assert_eq!(refused("once 128 02 0 -"), OrderError::Number("128".to_owned()));
        assert_eq!(refused("once 28 02 0 7"), OrderError::Number("7".to_owned()));
        assert_eq!(device.struck(), 0);
    }

    #[test]
    fn lines_are_answered_on_the_socket() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, device) = (folder.path().join("orders"), device());
        listen(&path, device.clone()).expect("it listens");
        let mut caller = UnixStream::connect(path).expect("it listens");
        caller.write_all(b"nonsense\nalways 28 08 0 -\n").expect("it reads");
        let mut answers = BufReader::new(&caller).lines().map(|line| line.expect("it answers"));
        assert!(answers.next().expect("the first").starts_with("no order"));
        assert_eq!(answers.next().as_deref(), Some("ok"));
        assert_eq!(read(&device).status, ScsiStatus::Busy);
    }
}
