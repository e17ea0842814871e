//! `flowkit token`: tokens for FlowAPI without FlowAuth, and what a token says.

pub(super) mod days;
mod make;
pub(super) mod roles;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::Failure;
use crate::roles::Deployment;
use flowkit_core::Site;

/// Make tokens for FlowAPI without FlowAuth, and say what a token allows
#[derive(Subcommand)]
pub enum Token {
    Make(make::Make),
    Show(show::Show),
}

impl Token {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Token::Make(args) => args.run(),
            Token::Show(args) => args.run(),
        }
    }
}

/// Which deployment's keys.
#[derive(Args)]
struct Place {
    /// State directory of the deployment [default: /var/lib/flowkit for root, else flowkit in the XDG state directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The FlowAPI that the token is for [default: FLOWAPI_IDENTIFIER]
    #[arg(long, value_name = "NAME")]
    audience: Option<String>,
}

impl Place {
    fn site(&self) -> Result<Site, Failure> {
        Ok(Deployment::open(self.dir.as_deref()).map_err(Failure::mistake)?.site)
    }

    fn audience(&self, site: &Site) -> Result<String, Failure> {
        match &self.audience {
            Some(name) => Ok(name.clone()),
            None => secret(site, "FLOWAPI_IDENTIFIER").map(|name| name.expose().to_owned()),
        }
    }
}

fn secret(site: &Site, name: &str) -> Result<flowkit_core::secrets::Secret, Failure> {
    site.store.get(name).map_err(|error| Failure::mistake(error.problem()))
}
