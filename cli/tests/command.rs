//! The command from outside: exit codes, messages, and services as processes.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;
use tempfile::TempDir;

/// A machine of its own: run directory, files and no configuration.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn image(&self, name: &str, bytes: u64) -> String {
        let path = self.path(name);
        File::create(&path).unwrap().set_len(bytes).unwrap();
        path
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(cargo_bin("blkecho"));
        command.env("BLKECHO_RUN_DIR", self.dir.path().join("run")).args(["--config", "/dev/null"]).args(args);
        command
    }

    fn run(&self, args: &[&str]) -> (i32, String) {
        said(&self.command(args).output().unwrap())
    }

    fn standby(&self, group: &str, volume: &str) -> Command {
        let dir = self.path(&format!("dir-{group}"));
        let args = ["standby", "--listen", "127.0.0.1:0", "--journal-size", "128M", "--group", group];
        let mut command = self.command(&args);
        command.args(["--dir", &dir, "--volume", volume]);
        command
    }
}

fn said(output: &Output) -> (i32, String) {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

/// Ends the process whatever happens.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Asks it to end, and answers its exit code.
    fn terminate(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for(what: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !what() {
        assert!(Instant::now() < end, "not in time");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn wrong_usage_is_2_and_names_what_is_wrong() {
    let place = Place::new();
    let standby = ["standby", "--listen", "127.0.0.1:0", "--volume", "x=y"];
    let with = |flags: [&'static str; 2]| [&standby[..], &flags].concat();
    let scsi: [(&[&str], &str); 8] = [
        (&with(["--map", "x"]), "NAME:lba=N,lun=N"),
        (&with(["--map", "x:block=4096"]), "another size cannot be mapped"),
        (&with(["--map", "z:lba=1"]), "there is no volume of this name"),
        (&with(["--map", "x:lba=-8"]), "no place for the first 8 blocks"),
        (&with(["--opaque", "guess"]), "stop, reread, ignore or issue"),
        (&with(["--retries", "luck=3"]), "no class of retries"),
        (&with(["--scsi-timeout", "0x93=never"]), "no time"),
        (&with(["--scsi-timeout", "0x93=2s"]), "between 7 s"),
    ];
    for (args, word) in scsi {
        let (code, text) = place.run(args);
        assert!(code == 2 && text.contains(word), "{args:?}: {code} {text}");
    }
    let cases: [(&[&str], &str); 7] = [
        (&["attach", "/dev/none"], "--to"),
        (&["attach", "/dev/none", "--to", "127.0.0.1:1"], "no such device: /dev/none"),
        (&["attach", "--to", "h:1", "--ring-size", "lots", "x"], "no size"),
        (&["standby", "--listen", "127.0.0.1:0", "--volume", "x"], "NAME=DEV"),
        (&["standby", "--listen", "127.0.0.1:22x", "--volume", "x=y"], "HOST:PORT"),
        (&["verify", "only-one"], "required"),
        (&["drain", "--group", "../x"], "no name"),
    ];
    for (args, word) in cases {
        let (code, text) = place.run(args);
        assert!(code == 2 && text.contains(word), "{args:?}: {code} {text}");
    }
}

#[test]
fn a_mistake_in_the_configuration_is_2_with_its_line() {
    let place = Place::new();
    let file = place.file("bad.toml", b"[attach]\nto = \"h:1\"\ncolour = 3\n");
    let output = Command::new(cargo_bin("blkecho")).args(["--config", &file, "attach", "/dev/none"]).output().unwrap();
    let (code, text) = said(&output);
    assert!(code == 2 && text.contains("line 3") && text.contains("colour"), "{text}");
}

#[test]
fn verify_tells_equal_from_different() {
    let place = Place::new();
    let (a, b) = (place.file("a", &[7; 70_000]), place.file("b", &[7; 70_000]));
    assert_eq!(place.run(&["verify", &a, &b]).0, 0);
    let mut content = vec![7; 70_000];
    content[65_600] = 8;
    fs::write(&b, content).unwrap();
    let (code, text) = place.run(&["verify", &a, &b]);
    assert!(code == 3 && text.contains("differs at 65536, 512 bytes") && text.contains("identical: no"), "{text}");
    let (code, text) = place.run(&["verify", "--json", &a, &b]);
    let start = text.find('{').unwrap();
    let report: serde_json::Value = serde_json::from_str(text[start..].trim()).unwrap();
    assert_eq!((code, report["first_difference"].as_u64()), (3, Some(65_600)));
    let short = place.file("short", &[7; 4096]);
    assert_eq!(place.run(&["verify", &a, &short]).0, 3);
    assert_eq!(place.run(&["verify", &a, "/none"]).0, 2);
}

#[test]
fn nobody_running_is_5() {
    let place = Place::new();
    for args in [&["status"] as &[&str], &["drain"], &["verify", "--group", "x"]] {
        assert_eq!(place.run(args).0, 5, "{args:?}");
    }
    assert_eq!(place.run(&["status", "--json"]), (0, "[]\n".to_owned()));
}

#[test]
fn a_socket_without_its_service_is_5() {
    let place = Place::new();
    fs::create_dir(place.path("run")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(place.path("run/standby-g.sock")).unwrap());
    for args in [&["status"] as &[&str], &["status", "--json"]] {
        let (code, text) = place.run(args);
        assert!(code == 5 && text.contains("no service answers"), "{args:?}: {code} {text}");
    }
}

#[test]
fn a_standby_answers_and_ends_cleanly() {
    let place = Place::new();
    let volume = format!("data={}", place.image("image", 1 << 20));
    let (code, text) = said(&place.standby("g", &volume).args(["--map", "data:lba=8"]).output().unwrap());
    assert!(code == 6 && text.contains("takes no SCSI commands") && text.contains("sg:/dev/sdX"), "{code} {text}");
    let running = Running::start(&mut place.standby("g", &volume));
    wait_for(|| place.run(&["status"]).0 == 0);
    let (_, text) = place.run(&["status"]);
    assert!(text.contains("Listening") && text.contains("standby") && text.contains(&volume), "{text}");
    let (code, text) = said(&place.standby("g", &volume).output().unwrap());
    assert!(code == 6 && text.contains("another blkecho process"), "{code} {text}");
    assert_eq!(running.terminate(), Some(0));
    assert_eq!(place.run(&["status"]).0, 5);
    assert!(!Path::new(&place.path("run/standby-g.sock")).exists());
}

#[test]
fn a_target_with_content_is_not_overwritten_unasked() {
    let place = Place::new();
    let mut content = vec![0u8; 1 << 20];
    content[0x438..0x43a].copy_from_slice(&[0x53, 0xef]);
    let volume = format!("data={}", place.file("image", &content));
    let (code, text) = said(&place.standby("g", &volume).output().unwrap());
    assert!(code == 6 && text.contains("ext2/3/4") && text.contains("--overwrite"), "{code} {text}");
    assert!(!Path::new(&place.path("run/standby-g.sock")).exists(), "a start that failed leaves nothing");
    let running = Running::start(place.standby("g", &volume).arg("--overwrite"));
    wait_for(|| place.run(&["status"]).0 == 0);
    assert_eq!(running.terminate(), Some(0));
}

#[test]
fn a_port_in_use_is_5() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (dir, volume) = (place.path("dir"), format!("a={}", place.image("image", 1 << 20)));
    let (code, text) = place.run(&["standby", "--listen", &address, "--volume", &volume, "--dir", &dir]);
    assert!(code == 5 && text.contains(&address), "{code} {text}");
}

#[test]
fn help_man_and_completions_come_from_one_source() {
    let place = Place::new();
    for args in [&["--help"] as &[&str], &["man"], &["completions", "bash"]] {
        let (code, text) = place.run(args);
        assert!(code == 0 && text.contains("standby"), "{args:?}");
    }
    assert!(place.run(&["--help"]).1.contains("refused for safety"));
    assert!(place.run(&["man"]).1.contains("Exit codes"));
    for flag in ["map", "opaque", "reproduce", "retries", "scsi"] {
        assert!(place.run(&["man"]).1.contains(&format!("\\-\\-{flag}")), "--{flag} is in the manual");
    }
}

#[test]
fn doctor_prints_json() {
    let (code, text) = Place::new().run(&["doctor", "--json"]);
    let checks: serde_json::Value = serde_json::from_str(&text).unwrap();
    let failing = checks.as_array().unwrap().iter().any(|check| check["level"] == "fail");
    assert_eq!(code, if failing { 4 } else { 0 });
}
