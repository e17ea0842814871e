//! How services are begun, and how that ends: the same for `up` and `run`.

use std::process::ExitCode;

use super::Failure;
use crate::roles::{self, Deployment, Plan};
use flowkit_core::catalogue::{Role, catalogue};
use flowkit_core::config::{Pools, Problems};
use say::tell;
use supervisor::{Error, Outcome, client, gaps};

/// Everything that can be wrong is found before anything is started: roles, ports, the host, secrets, programs.
pub(super) fn begin(deployment: &Deployment, secrets: fn(&Deployment) -> Result<(), Failure>) -> Result<Plan, Failure> {
    Problems(roles::unknown_roles(&deployment.roles)).or(()).map_err(Failure::mistake)?;
    let mut taken = roles::free_ports(deployment);
    deployment.settle().map_err(Failure::mistake)?;
    // It may be what a killed run of our own has left behind: that is ended, or has just come to its end by itself.
    client::clear(&deployment.site.state.run()).map_err(of_supervisor)?;
    if !taken.is_empty() {
        let still = roles::free_ports(deployment);
        taken.retain(|problem| still.iter().any(|other| other.value == problem.value));
    }
    Problems(taken).or(()).map_err(Failure::mistake)?;
    secrets(deployment)?;
    let pools = Pools::of(&deployment.site.settings).warnings();
    let idle = |role: &Role| role.without_effect(&deployment.site.settings);
    let idle: Vec<String> = deployment.roles.iter().filter_map(|name| catalogue().role(name)).flat_map(idle).collect();
    let warnings = deployment.site.settings.warnings().iter().chain(&pools).chain(&idle);
    warnings.for_each(|warning| tell!("warning: {warning}"));
    let secrets = deployment.hand_out_secrets();
    match (roles::plan(deployment), secrets) {
        (Ok(plan), Ok(())) => Ok(plan),
        (plan, secrets) => {
            let problems = [secrets.err(), plan.err()].into_iter().flatten().flat_map(|Problems(problems)| problems);
            Err(Failure::mistake(Problems(problems.collect())))
        }
    }
}

/// Says once what the kernel can't close to confined services.
pub(super) fn tell_gaps() {
    let gaps = gaps();
    if !gaps.is_empty() {
        let open = gaps.join(", ");
        tell!("warning: this kernel leaves more open to a role that is broken into than it need be: {open}");
    }
}

/// Another `up` may have been quicker since we looked.
pub(super) fn of_supervisor(error: Error) -> Failure {
    if error.is_mistake() { Failure::mistake(error) } else { error.into() }
}

/// The exit status for how a set of services ended.
pub(super) fn exit_code(outcome: Outcome) -> ExitCode {
    if let Some(message) = outcome.message {
        tell!("flowkit: {message}");
    }
    ExitCode::from(outcome.status)
}
