//! `flowkit token make`.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use access::{Dates, Inspection, Minter, Wish};
use clap::Args;
use rand::rngs::SysRng;

use super::roles::{self, Role, Server};
use super::{Failure, Place, days, secret};
use flowkit_core::config::Problem;
use say::tell;

/// Make a token
///
/// FlowAuth makes the tokens of people. This makes one for tests and automation, with the same key:
/// PRIVATE_JWT_SIGNING_KEY, found where the deployment's secrets are. FlowAPI lets in a query when one single role of the
/// token has its action (run, get_result) and the scope UNIT:KIND:PART of each kind of query in it; roles are never put
/// together. The token is printed, or written to a file that only you can read.
///
/// Whoever has a token can use it until it ends, unless it is revoked: give it few scopes and a short life.
#[derive(Args)]
pub struct Make {
    /// Whose token it is, in FlowAPI's log
    #[arg(long, value_name = "NAME")]
    user: String,
    /// A role and its scopes; may be given several times. With --openapi a * stands for any part of a scope
    #[arg(long = "role", value_name = "NAME=SCOPE,...", value_parser = roles::role)]
    roles: Vec<Role>,
    /// Roles from a JSON file: {"NAME": ["SCOPE", ...]}
    #[arg(long, value_name = "FILE")]
    roles_file: Option<PathBuf>,
    /// How long it is good, such as 45m, 12h or 30d
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = days::lifetime)]
    lifetime: Duration,
    /// No data before this day
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = days::day)]
    first_day: Option<String>,
    /// No data after this day
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = days::day)]
    last_day: Option<String>,
    /// Days of data for one role, either of which may be left out; may be given several times
    #[arg(long, value_name = "ROLE=FIRST..LAST", value_parser = days::role_days)]
    role_days: Vec<(String, Dates)>,
    /// The server's openapi.json, which names it and all its scopes
    #[arg(long, value_name = "FILE")]
    openapi: Option<PathBuf>,
    /// Write the token to this new file, for you alone to read, instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

impl Make {
    /// Makes the token; what there is to say of it goes to stderr.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let server = self.openapi.as_deref().map(Server::read).transpose()?;
        let mut roles = self.roles.clone();
        if let Some(path) = &self.roles_file {
            roles.extend(roles::file(path)?);
        }
        if roles.is_empty() {
            return Err(Failure::mistake(Problem::new(
                "a token without a role allows nothing",
                "give --role NAME=SCOPE,...",
            )));
        }
        let roles = roles::spelt_out(roles, server.as_ref())?;
        let site = self.place.site()?;
        let audience = match (&self.place.audience, server) {
            (None, Some(server)) => server.audience,
            _ => self.place.audience(&site)?,
        };
        let dates =
            Dates::parse(self.first_day.as_deref(), self.last_day.as_deref()).expect("they have been read before");
        let role_dates = self.role_days.into_iter().collect();
        let wish = Wish { user: self.user, audience, lifetime: self.lifetime, roles, dates, role_dates };
        let key = secret(&site, "PRIVATE_JWT_SIGNING_KEY")?;
        let minter = Minter::parse(key.expose())?;
        let token = minter.mint(&wish, SystemTime::now(), &mut SysRng).map_err(Failure::mistake)?;
        match &self.out {
            Some(path) => write(path, &token)?,
            None => say::product(format!("{token}\n").as_bytes()),
        }
        let read = Inspection::read(&token).expect("it has just been made");
        read.advice().iter().for_each(|advice| tell!("note: {advice}"));
        Ok(ExitCode::SUCCESS)
    }
}

fn write(path: &Path, token: &str) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| writeln!(file, "{token}").and_then(|()| file.sync_all())).map_err(|error: io::Error| {
        let problem = Problem::new(format!("the token can't be written: {error}"), "name a file that isn't there yet");
        Failure::mistake(problem.value(path.display().to_string()))
    })
}
