//! `flowkit auth token`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::super::token::days;
use super::client::{Client, Error, hand_over};
use super::servers;
use super::{Failure, Place, text};
use say::tell;

/// Tokens of the key's own user; of everybody with --all
#[derive(Subcommand)]
pub enum Token {
    Mint(Mint),
    Renew(Renew),
    Revoke(Revoke),
    List(List),
}

/// Get a new token
#[derive(Args)]
pub struct Mint {
    /// What it shall be known by
    name: String,
    /// The server that it is for; may be left out where there is one alone
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// A role, or a part of one, as ROLE=SCOPE,...; may be given several times
    #[arg(long = "role", value_name = "ROLE[=SCOPE,...]", required = true)]
    roles: Vec<String>,
    #[command(flatten)]
    wish: Wish,
}

/// Get a new token like an earlier one, with what its roles allow now
///
/// The earlier one stays good until it ends.
#[derive(Args)]
pub struct Renew {
    /// Its number, or its name: the newest of that name that is not revoked
    token: String,
    #[command(flatten)]
    wish: Wish,
}

/// What is wanted of a new one.
#[derive(Args)]
struct Wish {
    /// How long it shall live, such as 12h or 30d [default: as long as the roles let it]
    #[arg(long, value_name = "TIME", value_parser = days::lifetime)]
    lifetime: Option<Duration>,
    /// Put the token into this file, which you alone can read, instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Revoke a token
#[derive(Args)]
pub struct Revoke {
    /// Its number, or, of one's own, its name
    token: String,
    /// It may be anybody's; then give its number
    #[arg(long)]
    all: bool,
}

/// List tokens; the tokens themselves are not shown
#[derive(Args)]
pub struct List {
    /// Everybody's that live
    #[arg(long)]
    all: bool,
}

impl Token {
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let mut client = Client::new(place)?;
        match self {
            Token::Mint(args) => args.run(&mut client).await,
            Token::Renew(args) => args.run(&mut client).await,
            Token::Revoke(args) => args.run(&mut client).await,
            Token::List(args) => args.run(&mut client, place).await,
        }
    }
}

impl Wish {
    fn minutes(&self) -> Option<u64> {
        self.lifetime.map(|time| time.as_secs().div_ceil(60))
    }

    fn take(&self, client: &Client, path: &str, minted: &Value) -> Result<(), Failure> {
        hand_over("token", client.text(path, minted, "token")?, self.out.as_deref())?;
        tell!("token {} ends {}", text(&minted["id"]), text(&minted["expires"]));
        Ok(())
    }
}

impl Mint {
    async fn run(self, client: &mut Client) -> Result<(), Failure> {
        let (server, _) = servers::find_own(client, self.server.as_deref()).await?;
        let roles: Vec<Value> = self.roles.iter().map(|text| role(text)).collect();
        let mut body = json!({ "name": self.name, "roles": roles });
        if let Some(minutes) = self.wish.minutes() {
            body["lifetime_minutes"] = json!(minutes);
        }
        let path = format!("/tokens/tokens/{server}");
        let minted = client.post(&path, &body).await?;
        self.wish.take(client, &path, &minted)
    }
}

/// A role as it is asked for.
fn role(text: &str) -> Value {
    match text.split_once('=') {
        Some((name, scopes)) => json!({ "name": name, "scopes": scopes.split(',').map(str::trim).collect::<Vec<_>>() }),
        None => json!({ "name": text }),
    }
}

impl Renew {
    async fn run(self, client: &mut Client) -> Result<(), Failure> {
        let path = format!("/tokens/tokens/{}/renew", number(client, &self.token).await?);
        let body = match self.wish.minutes() {
            Some(minutes) => json!({ "lifetime_minutes": minutes }),
            None => json!({}),
        };
        let minted = client.post(&path, &body).await?;
        self.wish.take(client, &path, &minted)
    }
}

impl Revoke {
    async fn run(self, client: &mut Client) -> Result<(), Failure> {
        let path = match self.all {
            true => format!("/admin/tokens/{}/revoke", self.token),
            false => format!("/tokens/tokens/{}/revoke", number(client, &self.token).await?),
        };
        client.post(&path, &json!({})).await?;
        tell!("revoked {}", self.token);
        Ok(())
    }
}

impl List {
    async fn run(self, client: &mut Client, place: &Place) -> Result<(), Failure> {
        let all = if self.all { client.get("/admin/tokens").await? } else { Value::Array(own(client).await?) };
        place.show(&all, ["ID", "NAME", "USER", "SERVER", "ENDS", "REVOKED"], |token| {
            let fields = ["id", "name", "username", "server_name", "expires", "revoked"];
            fields.map(|field| text(&token[field]))
        });
        Ok(())
    }
}

/// One's own on all servers, without the tokens themselves.
async fn own(client: &mut Client) -> Result<Vec<Value>, Failure> {
    let servers = client.get("/tokens/servers").await?;
    let mut all = Vec::new();
    for server in servers.as_array().into_iter().flatten() {
        let id = client.number("/tokens/servers", server, "id")?;
        let tokens = client.get(&format!("/tokens/tokens/{id}")).await?;
        all.extend(tokens.as_array().into_iter().flatten().cloned());
    }
    all.iter_mut().filter_map(Value::as_object_mut).for_each(|token| drop(token.remove("token")));
    Ok(all)
}

/// The number of one's own token.
async fn number(client: &mut Client, token: &str) -> Result<i64, Failure> {
    if let Ok(id) = token.parse() {
        return Ok(id);
    }
    let all = own(client).await?;
    let named = all.iter().filter(|one| one["name"] == token && one["revoked"].is_null());
    let newest = named.filter_map(|one| one["id"].as_i64()).max();
    newest.ok_or_else(|| Error::Unknown { kind: "token", name: token.to_owned() }.into())
}
