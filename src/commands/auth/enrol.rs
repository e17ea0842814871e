//! `flowkit auth enrol`: AutoFlow as a machine of FlowAuth's.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

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

/// What a machine without one needs.
const ROLE: &str = "give it the role autoflow, or another,";

/// How it begins from the beginning.
const ANEW: &str = "remove secrets/FLOWKIT_AUTOFLOW_FLOWAUTH_KEY and run `flowkit auth enrol` if it shall";

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
/// one's first password is good and enough. Where it is not, where AutoFlow has a good key already or a token that was put there by hand, or where an
/// administrator has disabled the machine, taken its role or ended its key, that is said and nothing is done.
#[derive(Args)]
pub struct Enrol {
    /// What the role allows, where it is new: what the workflows ask for; a * stands for any part; may be given several times [default: what the
    /// example workflow asks for]
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
    scopes: Vec<String>,
    /// How long a token may live, where the role is new [default: 7d]
    #[arg(long, value_name = "TIME", value_parser = days::lifetime)]
    lifetime: Option<Duration>,
    /// How long the key lives
    #[arg(long, value_name = "DAYS", default_value_t = 365)]
    days: u32,
}

/// How long a token may live, unless it is said.
const LIFETIME: Duration = Duration::from_secs(7 * 86_400);

impl Enrol {
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let deployment = Deployment::open_running(place.dir.as_deref()).map_err(Failure::mistake)?;
        let path = deployment.site.state.secrets().join(KEY);
        let has = |name: &str| deployment.site.store.get(name).is_ok();
        let had_key = has(KEY);
        if had_key {
            let own = Place { key_file: Some(path.clone()), ..place.same() };
            match Client::new(&own)?.get("/tokens/servers").await {
                Ok(servers) if servers.as_array().is_some_and(Vec::is_empty) => {
                    tell!("FlowAuth's machine {NAME} has no role, so AutoFlow gets no token: {}", give(ROLE));
                    return Ok(());
                }
                Ok(_) => {
                    tell!("AutoFlow has a key that is good");
                    self.tell_ignored();
                    return Ok(());
                }
                // FlowAuth knows no such key, or its user is out.
                Err(Error::Refused { status: 401, .. }) => {}
                // Whether it is good is not known: another one would be one too many.
                Err(error) => return Err(error.into()),
            }
        }
        if has("FLOWAPI_TOKEN") && !had_key {
            tell!("AutoFlow has a token that was put there by hand, FLOWAPI_TOKEN: nothing is done");
            return Ok(());
        }
        let Some(mut admin) = administrator(place, had_key).await? else { return Ok(()) };
        let machine = self.machine(&mut admin, had_key).await?;
        if let Some(machine) = machine {
            let keys = format!("/admin/users/{machine}/keys");
            let made = admin.post(&keys, &json!({ "name": "AutoFlow", "may": "tokens", "days": self.days })).await?;
            hand_over("key", admin.text(&keys, &made, "key")?, Some(&path))?;
            tell!(
                "AutoFlow gets its tokens from FlowAuth by a key of the machine {NAME}, until {}",
                text(&made["expires"])
            );
        }
        if place.key_file.is_none() {
            admin.post("/signout", &json!({})).await?;
        }
        if let (Some(_), Ok(status)) = (machine, client::status(&deployment.site.state.run())) {
            hand_out(deployment, &status.facts);
        }
        Ok(())
    }

    /// Says that what is there is not changed by these.
    fn tell_ignored(&self) {
        let given = [("--scope", !self.scopes.is_empty()), ("--lifetime", self.lifetime.is_some())];
        for (name, _) in given.into_iter().filter(|(_, given)| *given) {
            tell!("{name} changes nothing: the role {NAME} is there, and is changed in FlowAuth's pages");
        }
    }

    /// The number of the machine, which is made unless there was one. None where an administrator's decision is in the way, which is said: it is
    /// not for whoever brings all up again to undo it.
    async fn machine(&self, admin: &mut Client, had_key: bool) -> Result<Option<i64>, Failure> {
        let all = admin.get("/admin/users").await?;
        let Some(found) = all.as_array().into_iter().flatten().find(|user| user["name"] == NAME) else {
            if had_key {
                tell!("FlowAuth's machine {NAME} was removed, so AutoFlow gets no token: {ANEW}");
                return Ok(None);
            }
            let machine = json!({ "username": NAME, "is_machine": true, "roles": [self.role(admin).await?] });
            let made = admin.post("/admin/users", &machine).await?;
            tell!("added the machine {NAME}");
            return Ok(Some(admin.number("/admin/users", &made, "id")?));
        };
        if found["is_machine"] != true {
            let problem = Problem::new("FlowAuth has a person of this name", "rename that user, and try again");
            return Err(Failure::mistake(problem.value(NAME)));
        }
        let id = admin.number("/admin/users", found, "id")?;
        if found["is_disabled"] == true {
            tell!("FlowAuth's machine {NAME} is disabled, so AutoFlow gets no token: {}", give("enable it"));
            return Ok(None);
        }
        let user = admin.get(&format!("/admin/users/{id}")).await?;
        if user["roles"].as_array().is_none_or(Vec::is_empty) {
            tell!("FlowAuth's machine {NAME} has no role, so AutoFlow gets no token: {}", give(ROLE));
            return Ok(None);
        }
        // One that has ended by itself is still among its keys; one that somebody ended is not.
        let keys = admin.get(&format!("/admin/users/{id}/keys")).await?;
        let mut keys = keys.as_array().into_iter().flatten();
        if had_key && !keys.any(|key| has_ended(key["expires"].as_str().unwrap_or_default(), OffsetDateTime::now_utc()))
        {
            tell!("the key of FlowAuth's machine {NAME} was ended, so AutoFlow gets no token: {ANEW}");
            return Ok(None);
        }
        self.tell_ignored();
        Ok(Some(id))
    }

    /// The number of the role, which is made unless it is there.
    async fn role(&self, admin: &mut Client) -> Result<i64, Failure> {
        let lifetime = self.lifetime.unwrap_or(LIFETIME);
        if admin.get("/admin/servers").await?.as_array().is_none_or(Vec::is_empty) {
            Import::local(lifetime).run(admin).await?;
        }
        let (server, name) = find(admin, None).await?;
        let all = admin.get("/roles/").await?;
        let found = all.as_array().into_iter().flatten().find(|role| role["name"] == NAME && role["server"] == server);
        if let Some(id) = found.and_then(|role| role["id"].as_i64()) {
            self.tell_ignored();
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
        let minutes = i64::try_from(lifetime.as_secs().div_ceil(60)).unwrap_or(most).min(most);
        let role = json!({
            "name": NAME, "server_id": server, "scopes": scopes, "users": [], "longest_token_life_minutes": minutes,
        });
        let made = admin.post("/roles/", &role).await?;
        tell!("made the role {NAME} on {name}, with {} scopes", scopes.len());
        Ok(admin.number("/roles/", &made, "id")?)
    }
}

/// Whether a time, as FlowAuth says it, is past.
fn has_ended(expires: &str, now: OffsetDateTime) -> bool {
    OffsetDateTime::parse(expires, &Rfc3339).is_ok_and(|end| end <= now)
}

/// What is to be done in FlowAuth.
fn give(what: &str) -> String {
    format!("{what} in FlowAuth's pages if it shall")
}

/// Whoever may do all that: by the key that is named, or as the first administrator. None where that one has other means by now to sign in,
/// which is said.
async fn administrator(place: &Place, had_key: bool) -> Result<Option<Client>, Failure> {
    if place.key_file.is_some() {
        return Client::new(place).map(Some);
    }
    match Client::administrator(place).await {
        Ok(client) => Ok(Some(client)),
        Err(Failure::Failed(error)) if error.downcast_ref().is_some_and(is_changed) => {
            let lacks = if had_key { "has a key that is not good (any more)" } else { "has no key yet" };
            tell!(
                "AutoFlow {lacks}, and the first password of FlowAuth's administrator is not enough (any more) to make one: make a key that \
                 administers in FlowAuth's pages, and run `flowkit auth enrol --key-file FILE`"
            );
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

/// The password is another, a second factor is there, or one must be set up: not that there were too many tries, or that it is broken.
fn is_changed(error: &Error) -> bool {
    matches!(error, Error::Refused { status: 400 | 401 | 403, .. })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_ended_when_its_time_is_past() {
        let now = OffsetDateTime::from_unix_timestamp(1_577_836_800).unwrap();
        assert!(has_ended("2020-01-01T00:00:00.000000Z", now) && has_ended("2019-12-31T23:59:59.000000Z", now));
        assert!(!has_ended("2020-01-01T00:00:01.000000Z", now) && !has_ended("", now));
    }

    #[test]
    fn only_what_an_administrator_can_have_changed_is_no_failure() {
        let refused =
            |status| Error::Refused { method: http::Method::POST, path: "/signin".into(), status, said: String::new() };
        assert!([400, 401, 403].into_iter().all(|status| is_changed(&refused(status))));
        assert!([429, 500, 503].into_iter().all(|status| !is_changed(&refused(status))));
    }
}
