//! A standby: the service of the replayer, and its answers to the control socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use link::LinkError;
use replayer::standby::{StandbyConfig, StandbyError, StandbyHandle, StandbyService};
use serde_json::{Value, json};

use super::signature;
use crate::args::{GroupName, Standby as StandbyArgs, VolumeArg};
use crate::control::server::Service;
use crate::exit::{Done, Exit, Failure};
use crate::signals::Stop;

/// A running standby.
pub(crate) struct Standby {
    handle: StandbyHandle,
    stop: Stop,
}

fn failed(error: StandbyError) -> Failure {
    let exit = match &error {
        StandbyError::Config(_) => Exit::Usage,
        StandbyError::Target { .. } | StandbyError::TargetChanged { .. } | StandbyError::VolumeMissing { .. } => {
            Exit::Refused
        }
        StandbyError::Link(LinkError::InsecureAddress { .. }) => Exit::Refused,
        StandbyError::Link(_) => Exit::Unreachable,
        _ => Exit::Failure,
    };
    Failure::new(exit, error)
}

/// What `standby` is told, complete.
pub(crate) fn plan(args: &StandbyArgs) -> Done<(StandbyConfig, GroupName)> {
    let usage = |text: &str| Failure::text(Exit::Usage, text);
    let listen =
        args.listen.as_deref().ok_or_else(|| usage("name an address with --listen, such as 127.0.0.1:7788"))?;
    super::check_host_port("--listen", listen)?;
    if args.volumes.is_empty() {
        return Err(usage("name what is written with --volume NAME=DEV"));
    }
    let group = args.group.clone().unwrap_or_default();
    let dir = args.dir.clone().unwrap_or_else(|| Path::new("/var/lib/blkecho").join(&group.0).join("standby"));
    let volumes = args.volumes.iter().map(|volume| (volume.name.clone(), volume.path.clone())).collect();
    let mut config = StandbyConfig::new(listen, dir, volumes);
    config.insecure = args.insecure;
    config.serial = args.serial;
    config.depth = args.depth.unwrap_or(config.depth);
    config.scsi = args.scsi.settings()?;
    config.journal_bytes = args.journal_size.map_or(config.journal_bytes, |size| size.0);
    Ok((config, group))
}

/// Refuses targets that hold something and that this standby did not write before.
pub(crate) fn refuse_precious(volumes: &[VolumeArg], dir: &Path) -> Done {
    let known = StandbyService::known_targets(dir);
    for volume in volumes {
        if known.iter().any(|target| is_target(target, volume)) {
            continue;
        }
        // A target that cannot be read is the standby's to refuse, with its reasons.
        let disk = replayer::target::disk_behind(&volume.path);
        if let Ok(Some(what)) = signature::find(disk.as_ref().unwrap_or(&volume.path)) {
            let path = volume.path.display();
            let text = format!("{path} holds {what}; if all of it may be overwritten, say so with --overwrite");
            return Err(Failure::text(Exit::Refused, text));
        }
    }
    Ok(())
}

fn is_target((name, path): &(String, PathBuf), volume: &VolumeArg) -> bool {
    *name == volume.name && *path == volume.path
}

impl Standby {
    /// Starts it.
    pub(crate) fn start(config: StandbyConfig, stop: Stop) -> Done<Self> {
        Ok(Self { handle: StandbyService::start(config).map_err(failed)?, stop })
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> std::net::SocketAddr {
        self.handle.local_addr()
    }
}

fn not_here(what: &str) -> Failure {
    Failure::text(Exit::Usage, format!("{what} is asked of the primary: use its --run-dir and --group"))
}

impl Service for Standby {
    fn status(&self) -> Done<Value> {
        super::json(&self.handle.status())
    }

    fn drain(&self, timeout: Duration) -> Done<Value> {
        match self.handle.wait_drained(timeout) {
            true => Ok(json!({ "applied": self.handle.status().applied })),
            false => Err(Failure::text(Exit::Unreachable, "not everything received is applied in time")),
        }
    }

    fn wait_sync(&self, _: Duration) -> Done<Value> {
        Err(not_here("wait-sync"))
    }

    fn mark(&self, _: &str) -> Done<Value> {
        Err(not_here("mark"))
    }

    fn verify(&self, _: &mut dyn FnMut(u64, u64)) -> Done<Value> {
        Err(not_here("verify"))
    }

    fn stop(&self) {
        self.stop.set();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let refusal = |args: &StandbyArgs| plan(args).unwrap_err().to_string();
        assert!(refusal(&StandbyArgs::default()).contains("--listen"));
        let args = StandbyArgs { listen: Some("127.0.0.1:0".into()), ..StandbyArgs::default() };
        assert!(refusal(&args).contains("--volume"));
    }

    #[test]
    fn a_file_system_is_not_overwritten_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        std::fs::write(&path, b"XFSB and so on").unwrap();
        let volumes = [VolumeArg { name: "a".into(), path }];
        let failure = refuse_precious(&volumes, dir.path()).unwrap_err();
        assert_eq!(failure.exit, Exit::Refused);
        assert!(
            failure.to_string().contains("holds an XFS file system") && failure.to_string().contains("--overwrite")
        );
    }
}
