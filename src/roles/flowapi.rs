//! FlowAPI: one server, which copes by itself with a FlowMachine and a FlowDB that come and go.

use std::net::SocketAddr;
use std::process::ExitCode;

use super::ours::Ours;
use crate::roles::{Deployment, Held, Needs, Role, Step};
use flowkit_core::config::{Problem, Problems};
use supervisor::Service;

pub(super) static ROLE: Role = Role {
    name: "flowapi",
    services,
    check: |_, _| Vec::new(),
    stays: &[],
    held: Held::Everywhere,
    needs: |view, _| Needs { is_ours: true, renewed: &["FLOWKIT_FLOWAPI_REVOCATIONS"], ..Needs::of(view, "flowapi") },
    steps: &[Step { name: "flowapi-await", before_listening: true, run: |_| Ok(ExitCode::SUCCESS) }],
};

// FlowMachine is silent for minutes while it builds a large query: whether FlowAPI lives is not asked of it.
const OURS: Ours = Ours {
    role: "flowapi",
    title: "FlowAPI",
    program: "FLOWKIT_FLOWAPI_SERVER",
    listen: "FLOWKIT_FLOWAPI_LISTEN",
    port: "FLOWAPI_PORT",
    plain: "FLOWKIT_FLOWAPI_PLAIN_HTTP",
    certificate: "cert-flowkit.pem",
    lives: "/api/0/health/live",
};

fn services(deployment: &Deployment) -> Result<Vec<Service>, Problems> {
    // Its login is made by the schema's task; without FlowMachine it can only say so (503).
    let needs = ["flowdb-schema", "flowmachine"].map(String::from).to_vec();
    Ok(vec![Service { needs, ..OURS.service(deployment)? }])
}

/// Where it is reached from this machine.
pub(crate) fn reached(deployment: &Deployment) -> Result<SocketAddr, Problem> {
    OURS.reached(deployment)
}
