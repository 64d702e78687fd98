//! Orders to a simulated device that a program executes for the kernel (`tests/src/bin/tcmu.rs`): what to answer, line by
//! line on a socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use replication::errors::Reply;

use super::Script;

/// The socket of a device.
pub(crate) struct Orders(UnixStream);

impl Orders {
    pub(crate) fn connect(path: &str) -> Self {
        Self(UnixStream::connect(path).unwrap_or_else(|error| panic!("{path}: {error}")))
    }

    fn give(&self, order: &str) {
        (&self.0).write_all(format!("{order}\n").as_bytes()).expect("it takes orders");
        let mut answer = String::new();
        BufReader::new(&self.0).read_line(&mut answer).expect("it answers");
        assert_eq!(answer, "ok\n", "{order}");
    }

    /// The next command of this operation code is answered after its initiator gave up.
    pub(crate) fn late(&self, opcode: u8) {
        self.give(&format!("late {opcode:02x}"));
    }

    /// Each command of this operation code ends so, until it is taken back.
    pub(crate) fn always(&self, opcode: u8, reply: Reply) -> bool {
        words(reply).map(|words| self.give(&format!("always {opcode:02x} {words}"))).is_some()
    }
}

impl Script for Orders {
    fn once(&self, opcode: u8, reply: Reply) -> bool {
        words(reply).map(|words| self.give(&format!("once {opcode:02x} {words}"))).is_some()
    }

    fn clear(&self, _: u8) {
        self.give("clear");
    }
}

/// Status, residual and sense; none for what only a transport says.
fn words(reply: Reply) -> Option<String> {
    let Reply::Device { status, host: 0, residual, sense } = reply else { return None };
    let sense = sense.map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    Some(format!("{status:02x} {residual} {}", sense.as_deref().unwrap_or("-")))
}
