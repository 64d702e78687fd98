//! `standby`: receives changes and applies them.

use std::sync::Arc;

use super::Context;
use super::service::{claim, serve};
use crate::args::Standby as Args;
use crate::control::{Role, socket};
use crate::exit::Done;
use crate::node::standby::{Standby, plan, refuse_precious};
use crate::signals::Stop;

pub(super) fn run(mut args: Args, context: &Context) -> Done {
    context.config()?.fill_standby(&mut args);
    let (config, group) = plan(&args)?;
    let control = args.control.clone().unwrap_or_else(|| socket(&context.run_dir, Role::Standby, &group));
    // Before anyone can see the service: from then on a signal is an orderly end.
    let stop = Stop::on_signals()?;
    let claim = claim(&control)?;
    if !args.overwrite {
        refuse_precious(&args.volumes, &config.dir)?;
    }
    let service = Arc::new(Standby::start(config, stop.clone())?);
    tracing::info!("listening on {}", service.local_addr());
    let served = serve(Role::Standby, &service, claim, &stop);
    tracing::info!("stopped; what was acknowledged is on the targets or in the journal");
    served
}
