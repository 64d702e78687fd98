//! The suites that run in virtual machines with Debian's kernels, on disks that no other suite has: virtio, device
//! mapper, md, and SCSI. `cargo xtask vm` builds the guests, boots them and runs the scripts in them.

/// What the scripts share: it goes in front of each.
pub const LIBRARY: &str = include_str!("lib.sh");

/// Every kind of disk with its agent and a standby on an image file: prints `PASS name` or `FAIL name: why` per case.
pub const SCRIPT: &str = include_str!("guest.sh");

/// What the suites of SCSI devices share.
pub const PAIR_LIBRARY: &str = include_str!("pairs.sh");

/// SCSI devices on both sides: prints the same, and `TEST binary::name` for each test that it ran.
pub const SCSI_SCRIPT: &str = include_str!("scsi.sh");

/// Devices of the kernel that a program of ours executes.
pub const TCMU_LIBRARY: &str = include_str!("tcmu.sh");

/// Tapes on both sides, written with tar and mt.
pub const TAPE_LIBRARY: &str = include_str!("tape.sh");

/// Simulated disks and tapes on both sides, and the rows of the error consistency table.
pub const SIMULATED_SCRIPT: &str = include_str!("simulated.sh");

/// Kinds of disks that [`SCRIPT`] must cover.
pub const CASES: [&str; 4] = ["virtio", "scsi", "dm-linear", "md-raid1"];

/// Pairs of SCSI disks that [`SCSI_SCRIPT`] must cover.
pub const PAIRS: [&str; 3] = ["debug-512", "debug-4096", "virtio-scsi"];

/// What else [`SCSI_SCRIPT`] must do: tests of ours on real devices, and bad input.
pub const SCSI_CASES: [&str; 6] =
    ["on_debug_disk 512", "on_debug_disk 4096", "refusals", "vanishing", "processor", "refuses cd-rom "];

/// What [`SIMULATED_SCRIPT`] must do.
pub const SIMULATED_CASES: [&str; 4] = ["one_tape tape", "simulated_disks", "on_simulated_disk", "error_rows"];

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
    fn every_scsi_device_has_its_case() {
        let has = |start: &str| SCSI_SCRIPT.lines().any(|line| line.starts_with(start));
        for pair in PAIRS {
            assert!(has(&format!("pairing {pair} ")), "no pair {pair}");
        }
        for case in SCSI_CASES {
            assert!(has(case), "no case {case}");
        }
    }

    #[test]
    fn every_simulated_device_has_its_case() {
        for case in SIMULATED_CASES {
            assert!(SIMULATED_SCRIPT.lines().any(|line| line == case), "no case {case}");
        }
    }

    #[test]
    fn a_filter_has_its_case() {
        assert!(SCRIPT.lines().any(|line| line == "filter_case sda"));
    }

    #[test]
    fn the_scripts_parse() {
        let simulated = [PAIR_LIBRARY, TCMU_LIBRARY, TAPE_LIBRARY, SIMULATED_SCRIPT].concat();
        for script in [SCRIPT, &[PAIR_LIBRARY, SCSI_SCRIPT].concat(), &simulated] {
            let mut shell = Command::new("sh").arg("-n").stdin(Stdio::piped()).spawn().expect("there is a shell");
            let mut input = shell.stdin.take().expect("piped");
            input.write_all([LIBRARY, script].concat().as_bytes()).expect("the shell reads");
            drop(input);
            assert!(shell.wait().expect("the shell ends").success());
        }
    }
}
