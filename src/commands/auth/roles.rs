//! `flowkit auth role`.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::super::token::{days, roles::matching};
use super::client::{Client, Error};
use super::servers;
use super::{Failure, Place, text};
use flowkit_core::config::Problem;
use say::tell;

/// Roles: what their members may ask a server
#[derive(Subcommand)]
pub enum Role {
    Create(Create),
    /// List all roles
    List,
    /// Give users a role
    Grant(Members),
    /// Take a role from users; tokens that they have stay good until they end or are revoked
    Withdraw(Members),
    /// Revoke all tokens that carry a role
    RevokeTokens(Named),
    /// Remove a role; tokens that carry it stay good until they end
    Remove(Named),
}

/// Make a role
#[derive(Args)]
pub struct Create {
    /// Its name, as ROLE, or ROLE@SERVER where there are several servers
    #[arg(value_name = "ROLE[@SERVER]")]
    name: RoleName,
    /// What members may ask; a * stands for any part; may be given several times
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',')]
    scopes: Vec<String>,
    /// How long a token may live, such as 12h or 30d [default: as long as the server lets it]
    #[arg(long, value_name = "TIME", value_parser = days::lifetime)]
    lifetime: Option<Duration>,
    /// No token lives longer than until then
    #[arg(long, value_name = "YYYY-MM-DDTHH:MM:SSZ")]
    latest: Option<String>,
    /// No data before this day
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = days::day)]
    first_day: Option<String>,
    /// No data after this day
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = days::day)]
    last_day: Option<String>,
    /// A member; may be given several times
    #[arg(long = "member", value_name = "USER")]
    members: Vec<String>,
}

/// A role and users.
#[derive(Args)]
pub struct Members {
    /// The role
    #[arg(value_name = "ROLE[@SERVER]")]
    role: RoleName,
    /// The users
    #[arg(value_name = "USER", required = true)]
    users: Vec<String>,
}

/// Which role.
#[derive(Args)]
pub struct Named {
    /// The role
    #[arg(value_name = "ROLE[@SERVER]")]
    role: RoleName,
}

/// A role by its name and its server's, which may be left out where there is one alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleName {
    pub role: String,
    pub server: Option<String>,
}

impl FromStr for RoleName {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<RoleName, Infallible> {
        let (role, server) =
            text.rsplit_once('@').map_or((text, None), |(role, server)| (role, Some(server.to_owned())));
        Ok(RoleName { role: role.to_owned(), server })
    }
}

/// A role that is there.
pub struct Found {
    pub id: i64,
    members: BTreeSet<i64>,
}

impl RoleName {
    /// The role with this name.
    pub async fn find(&self, client: &mut Client) -> Result<Found, Failure> {
        let (server, _) = servers::find(client, self.server.as_deref()).await?;
        let all = client.get("/roles/").await?;
        let mut all = all.as_array().into_iter().flatten();
        let role = all.find(|role| role["name"] == *self.role && role["server"] == server);
        let unknown = || Error::Unknown { kind: "role", name: self.role.clone() };
        let role = role.ok_or_else(unknown)?;
        let members = role["users"].as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
        Ok(Found { id: client.number("/roles/", role, "id")?, members })
    }
}

impl Role {
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let mut client = Client::new(place)?;
        match self {
            Role::Create(args) => args.run(&mut client).await,
            Role::List => list(&mut client, place).await,
            Role::Grant(args) => args.set(&mut client, true).await,
            Role::Withdraw(args) => args.set(&mut client, false).await,
            Role::RevokeTokens(args) => {
                let id = args.role.find(&mut client).await?.id;
                let path = format!("/roles/{id}/revoke_tokens");
                let done = client.post(&path, &json!({})).await?;
                tell!("revoked {} tokens", client.number(&path, &done, "revoked")?);
                Ok(())
            }
            Role::Remove(args) => {
                let id = args.role.find(&mut client).await?.id;
                client.delete(&format!("/roles/{id}")).await?;
                tell!("removed {}", args.role.role);
                Ok(())
            }
        }
    }
}

/// The numbers of a server's scopes that fit these patterns, each of which fits some.
pub async fn matching_scopes(
    client: &mut Client,
    server: i64,
    name: &str,
    patterns: &[String],
) -> Result<BTreeSet<i64>, Failure> {
    let all = client.get(&format!("/admin/servers/{server}/scopes")).await?;
    let all: Vec<&Value> = all.as_array().into_iter().flatten().filter(|scope| scope["enabled"] == true).collect();
    let mut scopes = BTreeSet::new();
    for pattern in patterns {
        let fits = all.iter().filter(|scope| scope["name"].as_str().is_some_and(|name| matching(name, pattern)));
        let found: Vec<i64> = fits.filter_map(|scope| scope["id"].as_i64()).collect();
        if found.is_empty() {
            let hint = "its openapi.json lists them; `flowkit auth server import` brings them up to date";
            let problem = Problem::new(format!("the server {name} has no such scope"), hint);
            return Err(Failure::mistake(problem.value(&**pattern)));
        }
        scopes.extend(found);
    }
    Ok(scopes)
}

async fn users(client: &mut Client, names: &[String]) -> Result<BTreeSet<i64>, Failure> {
    let all = client.get("/admin/users").await?;
    let all: Vec<&Value> = all.as_array().into_iter().flatten().collect();
    let id = |name: &String| {
        let found = all.iter().find(|user| user["name"] == **name).and_then(|user| user["id"].as_i64());
        found.ok_or_else(|| Error::Unknown { kind: "user", name: name.clone() }.into())
    };
    names.iter().map(id).collect()
}

impl Create {
    async fn run(self, client: &mut Client) -> Result<(), Failure> {
        let (server, name) = servers::find(client, self.name.server.as_deref()).await?;
        let limits = client.get(&format!("/admin/servers/{server}")).await?;
        let scopes = matching_scopes(client, server, &name, &self.scopes).await?;
        let members = users(client, &self.members).await?;
        let minutes = self.lifetime.map(|time| json!(time.as_secs().div_ceil(60)));
        let body = json!({
            "name": self.name.role, "server_id": server, "scopes": scopes, "users": members,
            "longest_token_life_minutes": minutes.as_ref().unwrap_or(&limits["longest_token_life_minutes"]),
            "latest_token_expiry": self.latest.map_or_else(|| limits["latest_token_expiry"].clone(), Value::from),
            "first_day": self.first_day, "last_day": self.last_day,
        });
        client.post("/roles/", &body).await?;
        tell!("made the role {} on {name}, with {} scopes and {} members", self.name.role, scopes.len(), members.len());
        Ok(())
    }
}

impl Members {
    async fn set(&self, client: &mut Client, has: bool) -> Result<(), Failure> {
        let users = users(client, &self.users).await?;
        let role = self.role.find(client).await?;
        let members: BTreeSet<i64> = match has {
            true => role.members.union(&users).copied().collect(),
            false => role.members.difference(&users).copied().collect(),
        };
        client.patch(&format!("/roles/{}", role.id), &json!({ "users": members })).await?;
        tell!("{} has {} members", self.role.role, members.len());
        Ok(())
    }
}

async fn list(client: &mut Client, place: &Place) -> Result<(), Failure> {
    let (all, servers) = (client.get("/roles/").await?, client.get("/admin/servers").await?);
    let server = |id: &Value| {
        let found = servers.as_array().into_iter().flatten().find(|server| server["id"] == *id);
        found.map_or_else(String::new, |server| text(&server["name"]))
    };
    let count = |list: &Value| list.as_array().map_or(0, Vec::len).to_string();
    place.show(&all, ["ROLE", "SERVER", "SCOPES", "MEMBERS", "MINUTES", "LATEST"], |role| {
        let (minutes, latest) = (text(&role["longest_token_life_minutes"]), text(&role["latest_token_expiry"]));
        [text(&role["name"]), server(&role["server"]), count(&role["scopes"]), count(&role["users"]), minutes, latest]
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_named_with_its_server_or_alone() {
        let named = |text: &str| text.parse::<RoleName>().map(|name| (name.role, name.server)).unwrap();
        assert_eq!(named("analyst"), ("analyst".to_owned(), None));
        assert_eq!(named("a@b@here"), ("a@b".to_owned(), Some("here".to_owned())));
    }
}
