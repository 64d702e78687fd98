//! `/proc/self/mountinfo`, as far as it tells what a path lies on.

use std::io;
use std::path::{Path, PathBuf};

use super::host::{DeviceNumber, Host};

/// One mounted file system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mount {
    pub(super) device: DeviceNumber,
    pub(super) point: PathBuf,
    pub(super) kind: String,
    pub(super) source: String,
    options: String,
}

impl Mount {
    /// From one line: `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`.
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(2);
        let device = DeviceNumber::parse(before.next()?)?;
        let point = unescape(before.nth(1)?);
        let mut after = after.split(' ');
        let (kind, source, options) = (after.next()?, after.next()?, after.next().unwrap_or_default());
        Some(Self {
            device,
            point: point.into(),
            kind: kind.to_owned(),
            source: unescape(source),
            options: unescape(options),
        })
    }

    /// The value of an option such as `upperdir=`.
    pub(super) fn option(&self, name: &str) -> Option<&str> {
        self.options.split(',').find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }
}

/// All mounts that this process sees.
pub(super) fn read(host: &Host) -> io::Result<Vec<Mount>> {
    let text = std::fs::read_to_string(host.proc.join("self/mountinfo"))?;
    Ok(text.lines().filter_map(Mount::parse).collect())
}

/// The mount that `path` lies on: of those at the longest mount point above it the last one, which hides the others.
pub(super) fn over<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.components().count())
}

/// Undoes the kernel's octal escapes of blanks, tabs, line ends and backslashes.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|code| u8::from_str_radix(code, 8).ok());
        match code {
            Some(code) => {
                plain.push(code as char);
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart() {
        let line =
            r"36 35 98:0 / /mnt/my\040disk rw,noatime master:1 shared:2 - overlay over rw,upperdir=/u,workdir=/w";
        let mount = Mount::parse(line).unwrap();
        assert_eq!(mount.point, Path::new("/mnt/my disk"));
        assert_eq!((mount.kind.as_str(), mount.source.as_str()), ("overlay", "over"));
        assert_eq!((mount.option("upperdir"), mount.option("lowerdir")), (Some("/u"), None));
    }

    #[test]
    fn the_longest_and_last_mount_counts() {
        let lines = ["1 0 8:0 / / rw - ext4 a rw", "2 1 8:1 / /var rw - ext4 b rw", "3 1 8:2 / /var rw - ext4 c rw"];
        let mounts: Vec<_> = lines.iter().filter_map(|line| Mount::parse(line)).collect();
        assert_eq!(over(&mounts, Path::new("/var/lib")).unwrap().source, "c");
        assert_eq!(over(&mounts, Path::new("/variable")).unwrap().source, "a");
    }

    #[test]
    fn odd_lines_are_passed_over() {
        assert_eq!(Mount::parse("garbage"), None);
        assert_eq!(Mount::parse("1 2 x / / rw - ext4 a rw"), None);
        assert_eq!(unescape(r"a\134b\09c\"), r"a\b\09c\");
    }
}
