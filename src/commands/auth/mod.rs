//! `flowkit auth`: FlowAuth by its API for machines, with a key.

mod client;
mod enrol;
mod import;
mod keys;
mod roles;
mod servers;
mod tokens;
mod users;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

pub(super) use self::client::Error as ClientError;
use super::{Failure, table};

/// Users, roles, servers, keys and tokens of a running FlowAuth
///
/// Speaks to the FlowAuth of this deployment, or to the one at --url, whose certificate is checked. It shows the key that is in a file: one made
/// under "Keys for programs" in FlowAuth's pages, by `flowkit auth key make` for a machine, or by `flowkit auth key first`. What the key may is
/// what these commands may; FlowAuth's log names it.
#[derive(Args)]
pub struct Auth {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// Which FlowAuth, and as whom.
#[derive(Args)]
struct Place {
    /// FlowAuth's address, as https://HOST[:PORT] [default: the one of the deployment]
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// File that holds the key
    #[arg(long, global = true, value_name = "FILE", env = "FLOWKIT_AUTH_KEY_FILE")]
    key_file: Option<PathBuf>,
    /// Certificate of the server at --url, or of its issuer, as PEM [default: those that this machine trusts]
    #[arg(long, global = true, value_name = "FILE", requires = "url")]
    certificate: Option<PathBuf>,
    /// State directory of the deployment [default: /var/lib/flowkit for root, else flowkit in the XDG state directory]
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How to print
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

#[derive(Subcommand)]
enum Command {
    #[command(subcommand)]
    User(users::User),
    #[command(subcommand)]
    Role(roles::Role),
    #[command(subcommand)]
    Server(servers::Server),
    #[command(subcommand)]
    Token(tokens::Token),
    #[command(subcommand)]
    Key(keys::Key),
    Import(import::Import),
    Enrol(enrol::Enrol),
    /// Say how FlowAuth and the FlowAPI beside it are, which days of data there are, and what ends soon
    Deployment,
}

impl Auth {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let place = self.place;
        crate::roles::wait(async {
            match self.command {
                Command::Import(args) => return args.run(&place),
                Command::Deployment => deployment(&place).await,
                Command::User(command) => command.run(&place).await,
                Command::Role(command) => command.run(&place).await,
                Command::Server(command) => command.run(&place).await,
                Command::Token(command) => command.run(&place).await,
                Command::Key(command) => command.run(&place).await,
                Command::Enrol(args) => args.run(&place).await,
            }?;
            Ok(ExitCode::SUCCESS)
        })?
    }
}

impl Place {
    /// What a list answers, as it is or as a table of these columns.
    fn show<const N: usize>(&self, all: &Value, head: [&str; N], row: impl Fn(&Value) -> [String; N]) {
        match self.format {
            Format::Json => say::product(format!("{all:#}\n").as_bytes()),
            Format::Table => {
                let rows = all.as_array().into_iter().flatten().map(row);
                // Names are chosen by people elsewhere.
                let rows = rows.map(|cells| cells.map(|cell| say::Shown(&*cell).to_string()));
                say::product(table::lines(head, rows).as_bytes());
            }
        }
    }
}

async fn deployment(place: &Place) -> Result<(), Failure> {
    let told = client::Client::new(place)?.get("/admin/deployment").await?;
    if place.format == Format::Json {
        say::product(format!("{told:#}\n").as_bytes());
        return Ok(());
    }
    let mut rows = vec![["FlowAuth".to_owned(), format!("since {}", text(&told["since"]))]];
    let flowapi = &told["flowapi"];
    if flowapi.is_null() {
        rows.push(["FlowAPI".to_owned(), "none beside it: it stands outside of the deployment".to_owned()]);
    }
    for (part, is_well) in flowapi["parts"].as_object().into_iter().flatten() {
        rows.push([format!("FlowAPI's {part}"), if *is_well == true { "well" } else { "away" }.to_owned()]);
    }
    for (kind, days) in flowapi["days"].as_object().into_iter().flatten() {
        let days: Vec<String> = days.as_array().into_iter().flatten().map(text).collect();
        let span = days.first().zip(days.last()).map(|(first, last)| format!(", {first} to {last}"));
        rows.push([format!("days of {kind}"), format!("{}{}", days.len(), span.unwrap_or_default())]);
    }
    for certificate in told["certificates"].as_array().into_iter().flatten() {
        rows.push([
            format!("certificate of {}", text(&certificate["of"])),
            format!("ends {}", text(&certificate["ends"])),
        ]);
    }
    for one in told["near_their_end"].as_array().into_iter().flatten() {
        let what = format!("{} {} of {}", text(&one["kind"]), text(&one["name"]), text(&one["user"]));
        rows.push([what, format!("ends {}", text(&one["ends"]))]);
    }
    let rows = rows.into_iter().map(|row| row.map(|cell| say::Shown(cell).to_string()));
    say::product(table::lines(["WHAT", ""], rows).as_bytes());
    Ok(())
}

/// A field as people read it.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => String::new(),
        Value::String(text) => text.strip_suffix(".000000Z").map_or_else(|| text.clone(), |time| format!("{time}Z")),
        other => other.to_string(),
    }
}
