//! `flowkit auth enrol`: AutoFlow as a machine of FlowAuth's.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::super::restart::hand_out;
use super::super::token::days;
use super::client::{Client, Error, hand_over};
use super::roles::matching_scopes;
use super::servers::{Import, find};
use super::{Failure, Format, Place, text};
use crate::roles::Deployment;
use flowkit_core::config::Problem;
use say::tell;
use supervisor::client;

/// What the machine and its role are called.
const NAME: &str = "autoflow";

/// The secret that AutoFlow finds its key in.
const KEY: &str = "FLOWKIT_AUTOFLOW_FLOWAUTH_KEY";

/// What the example workflow asks for: which days there are, people by ward at the end of a day, and flows between provinces.
const SCOPES: &[&str] = &[
    "get_available_dates",
    "run",
    "get_result",
    "admin3:geography:geography",
    "admin3:spatial_aggregate:spatial_aggregate",
    "admin3:spatial_aggregate:daily_location",
    "admin1:geography:geography",
    "admin1:flows:flows",
    "admin1:flows:daily_location",
];

/// Let the AutoFlow of this deployment get its tokens from FlowAuth by itself
///
/// Adds a machine and a role to FlowAuth, both called autoflow, unless they are there, and puts a key of that machine among the deployment's
/// secrets. From then on AutoFlow gets a token when it has none, and another one before it ends. All of it is in FlowAuth's pages and log: there
/// the role is changed, the key ended, the machine disabled. Without --key-file it is done as FlowAuth's first administrator, for as long as that
/// one's first password is good. Where AutoFlow has a good key already, or a token that was put there by hand, nothing is done.
#[derive(Args)]
pub struct Enrol {
    /// What the role allows, where it is new: what the workflows ask for; a * stands for any part; may be given several times [default: what the
    /// example workflow asks for]
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
    scopes: Vec<String>,
    /// How long a token may live, where the role is new
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = days::lifetime)]
    lifetime: Duration,
    /// How long the key lives
    #[arg(long, value_name = "DAYS", default_value_t = 365)]
    days: u32,
}

impl Enrol {
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let deployment = Deployment::open_running(place.dir.as_deref()).map_err(Failure::mistake)?;
        let path = deployment.site.state.secrets().join(KEY);
        let has = |name: &str| deployment.site.store.get(name).is_ok();
        let own = Place { key_file: Some(path.clone()), ..place.same() };
        if has(KEY) && is_good(&own).await {
            tell!("AutoFlow has a key that is good");
            return Ok(());
        }
        if has("FLOWAPI_TOKEN") && !has(KEY) {
            tell!("AutoFlow has a token that was put there by hand, FLOWAPI_TOKEN: nothing is done");
            return Ok(());
        }
        let mut admin = administrator(place).await?;
        let role = self.role(&mut admin).await?;
        let machine = machine(&mut admin, role).await?;
        let keys = format!("/admin/users/{machine}/keys");
        let made = admin.post(&keys, &json!({ "name": "AutoFlow", "may": "tokens", "days": self.days })).await?;
        hand_over("key", admin.text(&keys, &made, "key")?, Some(&path))?;
        if place.key_file.is_none() {
            admin.post("/signout", &json!({})).await?;
        }
        tell!(
            "AutoFlow gets its tokens from FlowAuth by a key of the machine {NAME}, until {}",
            text(&made["expires"])
        );
        if let Ok(status) = client::status(&deployment.site.state.run()) {
            hand_out(deployment, &status.facts);
        }
        Ok(())
    }

    /// The number of the role, which is made unless it is there.
    async fn role(&self, admin: &mut Client) -> Result<i64, Failure> {
        if admin.get("/admin/servers").await?.as_array().is_none_or(Vec::is_empty) {
            Import::local(self.lifetime).run(admin).await?;
        }
        let (server, name) = find(admin, None).await?;
        let all = admin.get("/roles/").await?;
        let found = all.as_array().into_iter().flatten().find(|role| role["name"] == NAME && role["server"] == server);
        if let Some(id) = found.and_then(|role| role["id"].as_i64()) {
            return Ok(id);
        }
        let wanted = match &*self.scopes {
            [] => SCOPES.iter().map(|scope| (*scope).to_owned()).collect(),
            given => given.to_vec(),
        };
        let scopes = matching_scopes(admin, server, &name, &wanted).await?;
        let path = format!("/admin/servers/{server}");
        let limits = admin.get(&path).await?;
        let most = admin.number(&path, &limits, "longest_token_life_minutes")?;
        let minutes = i64::try_from(self.lifetime.as_secs().div_ceil(60)).unwrap_or(most).min(most);
        let role = json!({
            "name": NAME, "server_id": server, "scopes": scopes, "users": [], "longest_token_life_minutes": minutes,
        });
        let made = admin.post("/roles/", &role).await?;
        tell!("made the role {NAME} on {name}, with {} scopes", scopes.len());
        Ok(admin.number("/roles/", &made, "id")?)
    }
}

/// The number of the machine, which is made unless it is there, and has the role.
async fn machine(admin: &mut Client, role: i64) -> Result<i64, Failure> {
    let all = admin.get("/admin/users").await?;
    let Some(found) = all.as_array().into_iter().flatten().find(|user| user["name"] == NAME) else {
        let machine = json!({ "username": NAME, "is_machine": true, "roles": [role] });
        let made = admin.post("/admin/users", &machine).await?;
        tell!("added the machine {NAME}");
        return Ok(admin.number("/admin/users", &made, "id")?);
    };
    if found["is_machine"] != true {
        let problem = Problem::new("FlowAuth has a person of this name", "rename that user, and try again");
        return Err(Failure::mistake(problem.value(NAME)));
    }
    let id = admin.number("/admin/users", found, "id")?;
    let path = format!("/roles/{role}");
    let members = admin.get(&path).await?;
    let mut members: BTreeSet<i64> =
        members["users"].as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
    if members.insert(id) {
        admin.patch(&path, &json!({ "users": members })).await?;
    }
    Ok(id)
}

/// Whether FlowAuth knows the key, and its user has a role.
async fn is_good(place: &Place) -> bool {
    let Ok(mut client) = Client::new(place) else { return false };
    client.get("/tokens/servers").await.is_ok_and(|servers| servers.as_array().is_some_and(|all| !all.is_empty()))
}

/// Whoever may do all that: by the key that is named, or as the first administrator.
async fn administrator(place: &Place) -> Result<Client, Failure> {
    if place.key_file.is_some() {
        return Client::new(place);
    }
    Client::administrator(place).await.map_err(|failure| {
        let refused = |error: &Error| matches!(error, Error::Refused { .. });
        match &failure {
            Failure::Failed(error) if error.downcast_ref().is_some_and(refused) => {
                let hint = "make a key that administers in FlowAuth's pages, and give it with --key-file";
                Failure::mistake(Problem::new("FlowAuth's administrator has another password by now", hint))
            }
            _ => failure,
        }
    })
}

impl Place {
    /// The same FlowAuth.
    fn same(&self) -> Place {
        Place {
            url: self.url.clone(),
            key_file: None,
            certificate: self.certificate.clone(),
            dir: self.dir.clone(),
            format: Format::Table,
        }
    }
}
