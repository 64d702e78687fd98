//! The suite that runs in virtual machines with Debian's kernels, on disks that no other suite has: virtio, SCSI,
//! device mapper and md. `cargo xtask vm` builds the guest, boots it and runs [`SCRIPT`] in it.

/// The guest's script: prints `PASS name` or `FAIL name: why` per case.
pub const SCRIPT: &str = include_str!("guest.sh");

/// Kinds of disks that the script must cover.
pub const CASES: [&str; 4] = ["virtio", "scsi", "dm-linear", "md-raid1"];

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn every_kind_of_disk_has_its_case() {
        for case in CASES {
            assert!(SCRIPT.lines().any(|line| line.starts_with(&format!("one_case {case} "))), "no case {case}");
        }
    }

    #[test]
    fn the_script_parses() {
        let mut shell = Command::new("sh").arg("-n").stdin(Stdio::piped()).spawn().expect("there is a shell");
        shell.stdin.take().expect("piped").write_all(SCRIPT.as_bytes()).expect("the shell reads");
        assert!(shell.wait().expect("the shell ends").success());
    }
}
