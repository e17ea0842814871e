//! `flowkit token show`.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use access::{Dates, Inspection, Keys, Queries, Revocations, Role, Verifier};
use clap::{Args, ValueEnum};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use super::{Failure, Place, days, secret};
use flowkit_core::config::Problem;
use say::{Shown, show, tell};

/// More than a token or a key ever has, in bytes; a list of revocations may have so many.
const LONGEST: u64 = 8 << 20;

/// Say in words what a token allows, of whom, until when, and what is wrong with it
///
/// The token is read from a file or from the standard input, never from the command line, where others could see it. Its
/// signature is checked with PUBLIC_JWT_SIGNING_KEY, found where the deployment's secrets are, or with another key. The
/// exit status is 0 only when FlowAPI would let it in now.
#[derive(Args)]
pub struct Show {
    /// The file that holds the token [default: the standard input]
    file: Option<PathBuf>,
    /// A file with the public key, or several, in the place of PUBLIC_JWT_SIGNING_KEY
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A list of revocations as FlowAuth publishes it
    #[arg(long, value_name = "FILE")]
    revocations: Option<PathBuf>,
    /// Lines for people, or JSON
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Show {
    /// Prints what the token says; what it would be refused for decides about the exit status.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let text = read(self.file.as_deref())?;
        let text = text.trim();
        let site = self.place.site()?;
        let (keys, now) = (self.keys(&site)?, SystemTime::now());
        let verifier = Verifier::new(keys, self.place.audience(&site)?);
        let mut wrong: Vec<String> = verifier.verify(text, now).err().iter().map(ToString::to_string).collect();
        let read = match Inspection::read(text) {
            Ok(read) => read,
            Err(refused) => {
                tell!("flowkit: this is no token of FlowKit: {refused}");
                return Ok(ExitCode::FAILURE);
            }
        };
        wrong.extend(self.revoked(&verifier, &read, now)?);
        match self.format {
            Format::Text => words(&read, &wrong, seconds(now)),
            Format::Json => say::product(format!("{:#}\n", as_json(&read, &wrong)).as_bytes()),
        }
        Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn keys(&self, site: &flowkit_core::Site) -> Result<Keys, Failure> {
        let Some(path) = &self.key else {
            return Ok(Keys::parse(secret(site, "PUBLIC_JWT_SIGNING_KEY")?.expose())?);
        };
        Keys::parse(&read(Some(path))?).map_err(|error| {
            Failure::mistake(
                Problem::new(format!("the key can't be used: {error}"), "name another")
                    .value(path.display().to_string()),
            )
        })
    }

    fn revoked(&self, verifier: &Verifier, read: &Inspection, now: SystemTime) -> Result<Option<String>, Failure> {
        let Some(path) = &self.revocations else { return Ok(None) };
        let list = Revocations::parse(&self::read(Some(path))?, verifier, now).map_err(|refused| {
            let problem = Problem::new(format!("it is no list of revocations: {refused}"), "name another");
            Failure::mistake(problem.value(path.display().to_string()))
        })?;
        if list.stale(now) {
            tell!("the list of revocations is past its age: it was made at {}", clock(list.issued));
        }
        Ok(list.check(&read.token).err().map(|refused| refused.to_string()))
    }
}

fn read(path: Option<&Path>) -> Result<String, Failure> {
    let mut text = String::new();
    let (name, read) = match path {
        Some(path) => {
            (path.display().to_string(), File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text)))
        }
        None => {
            if io::stdin().is_terminal() {
                tell!("paste the token, then Ctrl-D");
            }
            ("standard input".to_owned(), io::stdin().lock().take(LONGEST).read_to_string(&mut text))
        }
    };
    read.map_err(|error| {
        Failure::mistake(Problem::new(format!("cannot read: {error}"), "name another file").value(name))
    })?;
    Ok(text)
}

fn seconds(time: SystemTime) -> i64 {
    OffsetDateTime::from(time).unix_timestamp()
}

/// A time for people; one beyond the calendar as the number that it is.
fn clock(seconds: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok();
    let form = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    time.and_then(|time| time.format(form).ok()).unwrap_or(format!("{seconds} s since 1970"))
}

fn words(read: &Inspection, wrong: &[String], now: i64) {
    let token = &read.token;
    let servers = if read.audience.is_empty() { "no server".to_owned() } else { read.audience.join(", ") };
    show!("user   {}", Shown(&token.user));
    show!("server {}", Shown(servers));
    let made = token.issued.map_or("nobody says when".to_owned(), |at| relative(at, now));
    show!("made   {made}{}", Shown(token.issuer.as_ref().map_or(String::new(), |issuer| format!(", by {issuer}"))));
    if let Some(begins) = token.not_before.filter(|begins| *begins > now) {
        show!("begins {}", relative(begins, now));
    }
    show!("ends   {}", token.expires.map_or("never".to_owned(), |at| relative(at, now)));
    show!("id     {}", Shown(token.id.as_deref().unwrap_or("none")));
    if token.dates.limited() {
        show!("data   {}", token.dates);
    }
    token.roles.iter().for_each(|role| role_words(role, token.dates));
    wrong.iter().for_each(|wrong| show!("wrong  {}", Shown(wrong)));
    read.advice().iter().for_each(|advice| show!("note   {}", Shown(advice)));
    show!("{}", if wrong.is_empty() { "FlowAPI would let it in" } else { "FlowAPI would refuse it" });
}

/// A time with its distance from now.
fn relative(at: i64, now: i64) -> String {
    let far = days::rough(at.abs_diff(now));
    if at > now { format!("{}, in {far}", clock(at)) } else { format!("{}, {far} ago", clock(at)) }
}

fn role_words(role: &Role, whole: Dates) {
    let has = |scope: &str, words: &'static str| role.scopes.contains(scope).then_some(words);
    let acts = [
        has("run", "run queries"),
        has("get_result", "fetch results"),
        has("get_available_dates", "list the days of data"),
        has("get_qa_checks", "see quality checks"),
    ];
    let acts: Vec<&str> = acts.into_iter().flatten().collect();
    let acts = if acts.is_empty() { "follow queries".to_owned() } else { acts.join(", ") };
    let days = if role.dates == whole { String::new() } else { format!(", data {}", role.dates) };
    show!("role   {} may {acts}{days}", Shown(&role.name));
    for (units, kinds) in by_kinds(role.queries()) {
        show!("       at {}:", Shown(units.join(", ")));
        kinds.iter().for_each(|kind| show!("         {}", Shown(kind)));
    }
}

/// Units that allow the same are said together.
fn by_kinds(queries: Queries) -> Vec<(Vec<String>, Vec<String>)> {
    let mut grouped: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    for (unit, tops) in queries {
        let kinds: Vec<String> = tops
            .into_iter()
            .map(|(top, mut parts)| {
                parts.remove(&top);
                let parts: Vec<String> = parts.into_iter().collect();
                if parts.is_empty() { top } else { format!("{top} of {}", parts.join(", ")) }
            })
            .collect();
        match grouped.iter_mut().find(|(_, same)| *same == kinds) {
            Some((units, _)) => units.push(unit),
            None => grouped.push((vec![unit], kinds)),
        }
    }
    grouped
}

fn as_json(read: &Inspection, wrong: &[String]) -> serde_json::Value {
    let token = &read.token;
    let time = |seconds: Option<i64>| {
        let time = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
        time.and_then(|time| time.format(&Rfc3339).ok())
    };
    let day = |day: Option<time::Date>| day.map(|day| day.to_string());
    let roles = token.roles.iter().map(|role| {
        let mut scopes: Vec<&String> = role.scopes.iter().collect();
        scopes.sort();
        json!({ "name": role.name, "scopes": scopes, "first_day": day(role.dates.first), "last_day": day(role.dates.last) })
    });
    json!({
        "user": token.user, "servers": read.audience, "issuer": token.issuer, "id": token.id,
        "made": time(token.issued), "begins": time(token.not_before), "ends": time(token.expires),
        "first_day": day(token.dates.first), "last_day": day(token.dates.last),
        "roles": roles.collect::<Vec<_>>(), "wrong": wrong, "notes": read.advice(),
    })
}
