//! `attach`: observes devices and ships what changes.

use std::sync::Arc;

use super::Context;
use super::service::{claim, serve};
use crate::args::Attach;
use crate::control::{Role, socket};
use crate::exit::Done;
use crate::node::primary::{self, Plan, Primary};
use crate::node::refuse_on_observed;
use crate::signals::Stop;

pub(super) fn run(mut args: Attach, context: &Context) -> Done {
    context.config()?.fill_attach(&mut args);
    let plan = Plan::new(&args)?;
    let control = args.control.clone().unwrap_or_else(|| socket(&context.run_dir, Role::Primary, &plan.group));
    refuse_on_observed("the control socket", &control, &plan.devices)?;
    // Before anyone can see the service: from then on a signal is an orderly end.
    let stop = Stop::on_signals()?;
    let claim = claim(&control)?;
    tracing::info!("observing {} for {}", names(&plan), standbys(&plan));
    let service = Arc::new(Primary::start(plan.config, stop.clone())?);
    let served = serve(Role::Primary, &service, claim, &stop);
    service.finish()?;
    served?;
    say_goodbye(&args, &plan.group)
}

fn names(plan: &Plan) -> String {
    plan.devices.iter().map(|device| device.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn standbys(plan: &Plan) -> String {
    plan.config.to.iter().map(|to| to.address.as_str()).collect::<Vec<_>>().join(", ")
}

fn say_goodbye(args: &Attach, group: &crate::args::GroupName) -> Done {
    if args.detach_on_exit {
        primary::detach(group)?;
        tracing::info!("stopped; the probe is removed, and what changes from now on is not remembered");
    } else {
        tracing::info!(
            "stopped; the probe goes on to remember which regions change. `blkecho attach` continues, `blkecho detach \
             --group {}` removes it",
            group.0
        );
    }
    Ok(())
}
