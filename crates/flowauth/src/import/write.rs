//! What was read, among our own: in one transaction, with its line of the log.

use std::collections::{BTreeMap, BTreeSet};

use access::Inspection;
use serde_json::json;

use super::read::{Role, Server, Token, Upstream, User};
use super::{Error, Report};
use crate::acts;
use crate::app::SEALED;
use crate::passwords::Passwords;
use crate::specification::check_scopes;
use crate::store::audit::Actor;
use crate::store::tokens::{Carried, Made};
use crate::store::{Change, Store, factors, roles, sealed, servers, tokens, users};
use crate::vault::Vault;

/// What stands here for something there, by upstream's number.
type Numbers = BTreeMap<i64, i64>;

struct Import<'a> {
    change: Change,
    vault: &'a Vault,
    report: Report,
    users: Numbers,
    servers: Numbers,
    roles: Numbers,
    /// Roles by our server and name.
    named: BTreeMap<(i64, String), i64>,
}

pub async fn write(store: &Store, vault: &Vault, upstream: Upstream, on_trial: bool) -> Result<Report, Error> {
    let mut change = store.change().await?;
    if let Some(text) = sealed::fact(&mut change, SEALED).await? {
        vault.open(&text).map_err(|_| Error::OtherKey)?;
    }
    let report = Report { notes: upstream.notes, ..Report::default() };
    let (users, servers, roles, named) = Default::default();
    let mut import = Import { change, vault, report, users, servers, roles, named };
    for user in &upstream.users {
        import.user(user).await?;
    }
    for server in &upstream.servers {
        let of_server: Vec<&Role> = upstream.roles.iter().filter(|role| role.server == server.id).collect();
        import.server(server, &of_server).await?;
    }
    let names: BTreeMap<i64, &str> = upstream.roles.iter().map(|role| (role.id, &*role.name)).collect();
    for (id, token) in upstream.tokens.iter().enumerate() {
        import.token(token, id, &names).await?;
    }
    let Import { change, report, .. } = import;
    // A trial has tried all of it, and is undone.
    if !on_trial {
        let detail = json!({
            "users": report.users, "servers": report.servers, "roles": report.roles, "tokens": report.tokens,
        });
        change.commit(&Actor::program().does("database.import", "upstream's database", detail)).await?;
    }
    Ok(report)
}

fn name(kind: &'static str, name: &str) -> Result<String, Error> {
    let fits = acts::name(Some(name), "name", "").is_ok_and(|fits| fits == name);
    if fits { Ok(name.to_owned()) } else { Err(Error::Name(kind, name.to_owned())) }
}

impl Import<'_> {
    fn note(&mut self, text: String) {
        self.report.notes.push(text);
    }

    async fn user(&mut self, user: &User) -> Result<(), Error> {
        let name = name("user", &user.name)?;
        if let Some((known, _)) = users::named(&mut self.change, &name).await? {
            self.note(format!(
                "the user {name:?} is here already: password, rights and second factor stay as they are here"
            ));
            self.users.insert(user.id, known.id);
            return Ok(());
        }
        if users::any_like(&mut self.change, &name, None).await? {
            self.note(format!("the user {name:?} has a name that people take for another's here: rename one of them"));
        }
        let (is_admin, needs_factor) = (user.is_admin, user.needs_factor);
        let wanted = users::Wanted { name, is_admin, needs_factor, ..users::Wanted::default() };
        let password = Some(&*user.password).filter(|hash| Passwords::is_bearable(hash));
        if password.is_none() {
            let name = &wanted.name;
            self.note(format!("the password of {name:?} is hashed as no password may be here: make a link for them"));
        }
        let id = users::add(&mut self.change, &wanted, password).await?;
        self.users.insert(user.id, id);
        self.report.users += 1;
        if let Some(secret) = &user.secret {
            factors::enable(&mut self.change, id, &self.vault.seal(secret), 0).await?;
            // Nobody knows the codes themselves: what is kept is what they are checked with.
            let codes: Vec<String> = user.codes.iter().map(|code| self.vault.seal(code)).collect();
            factors::replace_codes(&mut self.change, id, &codes).await?;
            self.report.factors += 1;
        }
        Ok(())
    }

    async fn server(&mut self, server: &Server, of_server: &[&Role]) -> Result<(), Error> {
        let name = name("server", &server.name)?;
        let names: BTreeSet<String> = server.scopes.values().cloned().collect();
        check_scopes(&names).map_err(|_| Error::Name("scope", format!("on {name}")))?;
        let (latest_expiry, longest_minutes) = (server.latest_expiry, server.longest_minutes);
        let wanted = servers::Wanted { name: name.clone(), latest_expiry, longest_minutes };
        let added = servers::add(&mut self.change, &wanted).await;
        let id = added.map_err(|error| if error.is_taken() { Error::Known(name) } else { error.into() })?;
        let difference = servers::compare(&mut self.change, id, &names).await?;
        servers::apply(&mut self.change, id, &difference).await?;
        let ours = servers::scopes(&mut self.change, id).await?;
        let ours: BTreeMap<&str, i64> = ours.iter().map(|scope| (&*scope.name, scope.id)).collect();
        self.servers.insert(server.id, id);
        self.report.servers += 1;
        self.report.scopes += names.len();
        for role in of_server {
            let scopes = role.scopes.iter().filter_map(|scope| ours.get(&**server.scopes.get(scope)?).copied());
            let members = role.members.iter().filter_map(|user| self.users.get(user).copied());
            let wanted = roles::Wanted {
                name: self::name("role", &role.name)?,
                latest_expiry: role.latest_expiry,
                longest_minutes: role.longest_minutes,
                days: (None, None),
                scopes: scopes.collect(),
                members: members.collect(),
            };
            let role_id = roles::add(&mut self.change, id, &wanted).await?;
            self.roles.insert(role.id, role_id);
            self.named.insert((id, wanted.name), role_id);
            self.report.roles += 1;
        }
        Ok(())
    }

    async fn token(&mut self, token: &Token, number: usize, names: &BTreeMap<i64, &str>) -> Result<(), Error> {
        let (Some(user), Some(server)) = (self.users.get(&token.user), self.servers.get(&token.server)) else {
            self.note(format!("the token {:?} is of no user or server and is left out", token.name));
            return Ok(());
        };
        let (user, server) = (Some(*user), Some(*server));
        let Ok(read) = Inspection::read(&token.text) else {
            self.note(format!(
                "what is kept as the token {:?} (number {}) is none, and is left out",
                token.name,
                number + 1
            ));
            return Ok(());
        };
        let Some(jti) = read.token.id.clone() else {
            self.note(format!(
                "the token {:?} has no id, so that it could not be revoked, and is left out",
                token.name
            ));
            return Ok(());
        };
        let expires_at = read.token.expires.unwrap_or(token.expires_at);
        let made = Made {
            name: token.name.clone(),
            jti,
            sealed: self.vault.seal(&token.text),
            user,
            user_name: read.token.user.clone(),
            server,
            server_name: read.audience.first().cloned().unwrap_or_default(),
            issued_at: read.token.issued.unwrap_or(expires_at),
            expires_at,
        };
        let carried = token.roles.iter().filter_map(|role| {
            let name = (*names.get(role)?).to_owned();
            Some(Carried { id: self.roles.get(role).copied(), name, chosen: None })
        });
        let mut carried: Vec<Carried> = carried.collect();
        if carried.is_empty() {
            // Older versions have not kept them; the token itself has.
            carried.extend(read.token.roles.iter().map(|role| Carried {
                id: server.and_then(|server| self.named.get(&(server, role.name.clone())).copied()),
                name: role.name.clone(),
                chosen: None,
            }));
        }
        tokens::add(&mut self.change, &made, &carried).await?;
        self.report.tokens += 1;
        Ok(())
    }
}
