//! What `attach` and `standby` have in common: they run in the foreground until they are told to end.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::control::Role;
use crate::control::server::{Claim, Server, Service};
use crate::exit::{Done, Exit, OrExit};
use crate::node::view::View;
use crate::progress::Meter;
use crate::signals::Stop;

/// How often the terminal is drawn anew.
const REDRAW: Duration = Duration::from_millis(200);

/// Claims the control socket of a service.
pub(super) fn claim(path: &Path) -> Done<Claim> {
    Claim::new(path).or_exit(Exit::Refused)
}

/// Serves until a signal or a request ends it.
pub(super) fn serve(role: Role, service: &Arc<impl Service>, claim: Claim, stop: &Stop) -> Done {
    let server = Server::start(claim, Arc::clone(service) as Arc<dyn Service>)?;
    notify("READY=1");
    let mut meter = Meter::new();
    while !stop.wait(REDRAW) {
        meter.show(&View::of(role, &service.status()?));
    }
    notify("STOPPING=1");
    drop((meter, server));
    Ok(())
}

/// Tells systemd, when it started this process with `Type=notify`.
fn notify(state: &str) {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET") {
        let sent = UnixDatagram::unbound().and_then(|from| from.send_to(state.as_bytes(), &socket));
        if let Err(error) = sent {
            tracing::warn!("cannot notify {}: {error}", socket.to_string_lossy());
        }
    }
}
