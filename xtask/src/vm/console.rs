//! What the guest says: progress of the boot and results of the script.

/// Printed by init right before the script.
const BEGINS: &str = "vm: script begins";
/// Printed by init after the script, followed by its exit status.
const ENDED: &str = "vm: script ended with ";

/// Passed and failed cases of a guest, or of several.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Results {
    /// Lines `PASS name`.
    pub(crate) passed: u64,
    /// Names of lines `FAIL name ...`, and of a script that ended badly.
    pub(crate) failed: Vec<String>,
}

impl Results {
    /// Adds a guest's results under its name.
    pub(crate) fn add(&mut self, guest: &str, results: Self) {
        self.passed += results.passed;
        self.failed.extend(results.failed.into_iter().map(|name| format!("{guest}: {name}")));
    }
}

/// How far a guest came.
#[derive(Debug, Default)]
pub(crate) struct Console {
    began: bool,
    status: Option<String>,
    results: Results,
}

impl Console {
    /// Takes one line of the console.
    pub(crate) fn line(&mut self, line: &str) {
        let line = line.trim();
        if line.contains(BEGINS) {
            self.began = true;
        } else if let Some((_, status)) = line.split_once(ENDED) {
            self.status = Some(status.to_owned());
        } else if line.starts_with("PASS ") {
            self.results.passed += 1;
        } else if let Some(name) = line.strip_prefix("FAIL ") {
            self.results.failed.push(name.to_owned());
        }
    }

    /// Whether the script was started: before that a death is the emulator's, after that it is ours.
    pub(crate) fn began(&self) -> bool {
        self.began
    }

    /// The results once the machine is gone; a script that did not end well is a failure of its own.
    pub(crate) fn finish(mut self) -> Results {
        match self.status.as_deref() {
            Some("0") => {}
            Some(status) if self.results.failed.is_empty() => {
                self.results.failed.push(format!("the script ended with {status}"));
            }
            Some(_) => {}
            None => self.results.failed.push("the guest died or hung in the script".to_owned()),
        }
        self.results
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(lines: &[&str]) -> Results {
        let mut console = Console::default();
        lines.iter().for_each(|line| console.line(line));
        console.finish()
    }

    #[test]
    fn counts_and_names() {
        let ended =
            results(&["vm: script begins on 6.1", "PASS a", "FAIL b: bytes differ\r", "vm: script ended with 1"]);
        assert_eq!(ended, Results { passed: 1, failed: vec!["b: bytes differ".to_owned()] });
    }

    #[test]
    fn silence_is_no_success() {
        assert_eq!(results(&["vm: script begins on 6.1", "PASS a"]).failed.len(), 1);
        assert_eq!(results(&["PASS a", "vm: script ended with 3"]).failed, ["the script ended with 3"]);
        assert!(results(&["PASS a", "vm: script ended with 0"]).failed.is_empty());
    }
}
