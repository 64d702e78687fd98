//! What the guest says: progress of the boot and results of the script.

use std::collections::BTreeSet;

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
    /// Tests of ours, as `binary::name`, that each guest ran; none before the first guest.
    tests: Option<BTreeSet<String>>,
}

impl Results {
    /// Adds a guest's results under its name; of the tests, those that it ran as well count.
    pub(crate) fn add(&mut self, guest: &str, results: Self) {
        self.passed += results.passed;
        self.failed.extend(results.failed.into_iter().map(|name| format!("{guest}: {name}")));
        let ran = results.tests.unwrap_or_default();
        self.tests = Some(match self.tests.take() {
            Some(tests) => tests.intersection(&ran).cloned().collect(),
            None => ran,
        });
    }

    /// Adds the results of another suite, which has tests of its own.
    pub(crate) fn join(&mut self, suite: Self) {
        self.passed += suite.passed;
        self.failed.extend(suite.failed);
        self.tests.get_or_insert_default().extend(suite.tests.unwrap_or_default());
    }

    /// How many tests of ours ran on every kernel of their suite.
    pub(crate) fn tests(&self) -> u64 {
        self.tests.as_ref().map_or(0, |tests| tests.len() as u64)
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
        } else if let Some(test) = line.strip_prefix("TEST ") {
            self.results.tests.get_or_insert_default().insert(test.to_owned());
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
        assert_eq!(ended, Results { passed: 1, failed: vec!["b: bytes differ".to_owned()], tests: None });
    }

    #[test]
    fn a_test_counts_when_it_ran_on_every_kernel() {
        let guest = |tests: &[&str]| {
            let lines: Vec<String> = tests.iter().map(|test| format!("TEST {test}")).collect();
            results(&lines.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let mut suite = Results::default();
        suite.add("6.1", guest(&["sg::a", "sg::b"]));
        suite.add("6.12", guest(&["sg::b", "sg::b", "sg::c"]));
        assert_eq!(suite.tests(), 1);
        let mut all = Results::default();
        let mut other = Results::default();
        other.add("6.1", guest(&["tape::a"]));
        all.join(suite);
        all.join(other);
        assert_eq!(all.tests(), 2);
        all.join(Results::default());
        assert_eq!(all.tests(), 2);
    }

    #[test]
    fn silence_is_no_success() {
        assert_eq!(results(&["vm: script begins on 6.1", "PASS a"]).failed.len(), 1);
        assert_eq!(results(&["PASS a", "vm: script ended with 3"]).failed, ["the script ended with 3"]);
        assert!(results(&["PASS a", "vm: script ended with 0"]).failed.is_empty());
    }
}
