//! `flowkit auth server`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::super::token::days;
use super::client::{Client, Error, read};
use super::{Failure, Place, text};
use flowkit_core::config::Problem;
use say::{show, tell};

/// Servers: each is a FlowAPI
#[derive(Subcommand)]
pub enum Server {
    Import(Import),
    /// List all servers
    List,
    /// Remove a server with its roles; its tokens are revoked
    Remove(Named),
}

/// Add a FlowAPI, or take over what its new openapi.json says
///
/// A server that is there already gets the scopes of the document; no role loses any. Says what is new, gone or back.
#[derive(Args)]
pub struct Import {
    /// Its openapi.json [default: that of the FlowAPI of FlowAuth's own deployment]
    file: Option<PathBuf>,
    /// How long its tokens may live, such as 12h or 30d, where it is new
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = days::lifetime)]
    lifetime: Duration,
    /// No token lives longer than until then, where it is new
    #[arg(long, value_name = "YYYY-MM-DDTHH:MM:SSZ")]
    latest: Option<String>,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Which server.
#[derive(Args)]
pub struct Named {
    /// Its name: FLOWAPI_IDENTIFIER
    name: String,
}

impl Server {
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let mut client = Client::new(place)?;
        match self {
            Server::Import(args) => args.run(&mut client).await,
            Server::List => list(&mut client, place).await,
            Server::Remove(args) => {
                let (id, name) = find(&mut client, Some(&args.name)).await?;
                client.delete(&format!("/admin/servers/{id}")).await?;
                tell!("removed {name}");
                Ok(())
            }
        }
    }
}

/// The server with this name, or the only one that there is.
pub async fn find(client: &mut Client, name: Option<&str>) -> Result<(i64, String), Failure> {
    one(client, "/admin/servers", "name", name).await
}

/// The same among those on which the key's own user has a role.
pub async fn find_own(client: &mut Client, name: Option<&str>) -> Result<(i64, String), Failure> {
    one(client, "/tokens/servers", "server_name", name).await
}

async fn one(client: &mut Client, path: &str, field: &str, name: Option<&str>) -> Result<(i64, String), Failure> {
    let all = client.get(path).await?;
    let all: Vec<&Value> = all.as_array().into_iter().flatten().collect();
    let found = match (name, &*all) {
        (Some(name), all) => {
            let found = all.iter().find(|server| server[field] == name);
            *found.ok_or_else(|| Error::Unknown { kind: "server", name: name.to_owned() })?
        }
        (None, [one]) => *one,
        (None, []) => {
            let hint = "import one: `flowkit auth server import`, and give users a role on it";
            return Err(Failure::mistake(Problem::new("there is no server", hint)));
        }
        (None, several) => {
            let names: Vec<String> = several.iter().map(|server| text(&server[field])).collect();
            let problem = Problem::new("there are several servers", "say which: @SERVER after a role, or --server");
            return Err(Failure::mistake(problem.value(names.join(", "))));
        }
    };
    Ok((client.number(path, found, "id")?, text(&found[field])))
}

impl Import {
    /// The FlowAPI of FlowAuth's own deployment.
    pub fn local(lifetime: Duration) -> Import {
        Import { file: None, lifetime, latest: None, dry_run: false }
    }

    pub async fn run(self, client: &mut Client) -> Result<(), Failure> {
        let document = match &self.file {
            Some(path) => serde_json::from_str(read(path)?.expose()).map_err(|error| {
                let problem = Problem::new(format!("the file is not JSON: {error}"), "give FlowAPI's openapi.json");
                Failure::mistake(problem.value(path.display().to_string()))
            })?,
            None => client.get("/admin/local_server").await?,
        };
        let token = &document["components"]["securitySchemes"]["token"];
        let name = token["x-audience"].as_str().ok_or_else(|| {
            let hint = "get it from https://HOST:9090/api/0/spec/openapi.json";
            Failure::mistake(Problem::new("this is no document of a FlowAPI: it has no x-audience", hint))
        })?;
        let all = client.get("/admin/servers").await?;
        let known = all.as_array().into_iter().flatten().find(|server| server["name"] == name);
        match known.and_then(|server| server["id"].as_i64()) {
            Some(id) => {
                let what = if self.dry_run { "compare" } else { "specification" };
                let path = format!("/admin/servers/{id}/{what}");
                differs(name, &client.ask(Method::POST, &path, document.to_string().into()).await?);
            }
            None => {
                let scopes = &token["x-security-scopes"];
                let body = json!({
                    "name": name, "scopes": scopes, "latest_token_expiry": self.latest,
                    "longest_token_life_minutes": self.lifetime.as_secs().div_ceil(60),
                });
                if !self.dry_run {
                    client.post("/admin/servers", &body).await?;
                }
                show!("{name} is new, with {} scopes", scopes.as_array().map_or(0, Vec::len));
            }
        }
        Ok(())
    }
}

/// What a document changes.
fn differs(name: &str, difference: &Value) {
    let (added, back) = (&difference["added"], &difference["back"]);
    let names = |list: &Value| list.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    let gone = difference["gone"].as_object().into_iter().flatten();
    let lines = names(added).into_iter().map(|scope| format!("new   {scope}"));
    let lines = lines.chain(names(back).into_iter().map(|scope| format!("back  {scope}")));
    let lines = lines.chain(gone.map(|(scope, roles)| match names(roles) {
        none if none.is_empty() => format!("gone  {scope}"),
        roles => format!("gone  {scope}, which stays in {}", roles.join(", ")),
    }));
    let lines: Vec<String> = lines.collect();
    lines.iter().for_each(|line| show!("{}", say::Shown(line)));
    if lines.is_empty() {
        show!("{name}: nothing changes");
    }
}

async fn list(client: &mut Client, place: &Place) -> Result<(), Failure> {
    let servers = client.get("/admin/servers").await?;
    let mut all = Vec::new();
    for server in servers.as_array().into_iter().flatten() {
        let id = client.number("/admin/servers", server, "id")?;
        all.push(client.get(&format!("/admin/servers/{id}")).await?);
    }
    place.show(&Value::Array(all), ["SERVER", "MINUTES", "LATEST"], |server| {
        [text(&server["name"]), text(&server["longest_token_life_minutes"]), text(&server["latest_token_expiry"])]
    });
    Ok(())
}
