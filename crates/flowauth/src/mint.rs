//! Tokens: asked for with roles, within limits, and entered in the books before anybody has them.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use access::{Dates, Verifier, Wish};
use http::StatusCode;
use serde_json::json;
use web::Error;

use crate::acts::wrong_as;
use crate::app::App;
use crate::store::audit::Actor;
use crate::store::roles::{self, Role, Which};
use crate::store::servers::Server;
use crate::store::tokens::{self, Carried, Made, Token};
use crate::store::users::User;
use crate::store::{Change, now, servers};
use crate::times;

/// Longest name of a token, in characters: as many as upstream's database takes.
const LONGEST_NAME: usize = 75;

/// The scopes that are wanted of a role; `None`: all.
pub type Only = Option<BTreeSet<String>>;

/// What somebody asks for.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// What they will call it.
    pub name: String,
    /// Roles, by name.
    pub roles: Vec<(String, Only)>,
    /// How long it shall live; `None`: as long as it may.
    pub minutes: Option<i64>,
}

/// A token that is in the books.
pub struct Minted {
    /// Its number.
    pub id: i64,
    /// Itself.
    pub token: String,
    /// When it ends.
    pub expires_at: i64,
}

/// The latest that a token with these limits may end: `(longest minutes, latest moment)`.
pub fn latest_end(now: i64, limits: impl IntoIterator<Item = (i64, Option<i64>)>) -> i64 {
    let ends = limits.into_iter().map(|(minutes, latest)| {
        let end = now.saturating_add(minutes.saturating_mul(60));
        latest.map_or(end, |latest| latest.min(end))
    });
    ends.min().unwrap_or(now)
}

/// The roles that a token carries, as they are among its user's now.
///
/// # Errors
/// The names of those that are theirs no longer.
fn carried<'a>(token: &'a Token, mine: &[Role]) -> Result<Vec<(Role, Only)>, Vec<&'a str>> {
    let (mut chosen, mut lost) = (Vec::new(), Vec::new());
    for carried in &token.roles {
        match mine.iter().find(|role| Some(role.id) == carried.id) {
            Some(role) => chosen.push((role.clone(), carried.chosen.clone())),
            None => lost.push(carried.name.as_str()),
        }
    }
    if lost.is_empty() { Ok(chosen) } else { Err(lost) }
}

/// When a token would end that is had now by renewing this one, for this server and with what of these roles it carries; `None`: none is had.
pub fn renewal_end(now: i64, server: &Server, token: &Token, mine: &[Role]) -> Option<i64> {
    let chosen = carried(token, mine).ok().filter(|chosen| !chosen.is_empty() && token.revoked_at.is_none())?;
    lifetime(now, server, &chosen, None, "").ok().map(|lifetime| now + lifetime)
}

impl App {
    /// Makes a token for a server.
    ///
    /// # Errors
    /// 404 for a server that there is not; 403 for a role that is not theirs; 400 for what is beyond their limits.
    pub async fn mint(&self, actor: &Actor, user: &User, server: i64, ask: &Ask) -> Result<Minted, Error> {
        let mut change = self.change(actor).await?;
        let server = servers::find(&mut change, server).await?.ok_or_else(|| Error::of(StatusCode::NOT_FOUND))?;
        if ask.name.trim().is_empty()
            || ask.name.chars().count() > LONGEST_NAME
            || ask.name.chars().any(char::is_control)
        {
            let text = format!("A token's name has 1 to {LONGEST_NAME} characters.");
            return Err(wrong_as("token-name", "name", text));
        }
        if ask.roles.is_empty() {
            return Err(wrong_as("roles-none", "roles", "At least one role must be selected"));
        }
        let mine = roles::some(&mut change, Which::OfBoth(server.id, user.id)).await?;
        let mut chosen: Vec<(Role, Only)> = Vec::new();
        for (name, scopes) in &ask.roles {
            let Some(role) = mine.iter().find(|role| role.wanted.name == *name) else {
                let text = format!("Role '{name}' is not permitted for the current user");
                let error = Error::new(StatusCode::FORBIDDEN, text).with("bad_field", "roles");
                return Err(error.with("reason", "role-not-yours").with("role", &**name));
            };
            if chosen.iter().any(|(other, _)| other.id == role.id) {
                return Err(wrong_as("role-twice", "roles", format!("Role '{name}' is named twice")));
            }
            chosen.push((role.clone(), scopes.clone()));
        }
        let beyond = "Requested lifetime exceeds the maximum permitted by the selected server and roles";
        self.issue(change, actor, user, &server, &ask.name, &chosen, ask.minutes, ("token.mint", beyond)).await
    }

    /// Makes a token like an earlier one: its name and roles, with what the roles allow now.
    ///
    /// # Errors
    /// 404 for a token that is not theirs; 403 when a role of it is theirs no longer; 400 as with [`App::mint`].
    pub async fn renew(&self, actor: &Actor, user: &User, id: i64, minutes: Option<i64>) -> Result<Minted, Error> {
        let mut change = self.change(actor).await?;
        let token = self.own(&mut change, user, id).await?;
        let server = match token.made.server {
            Some(server) => servers::find(&mut change, server).await?,
            None => None,
        };
        let server = server.ok_or_else(|| Error::of(StatusCode::NOT_FOUND))?;
        if token.roles.is_empty() {
            let text = "This token has no roles recorded against it and cannot be renewed; mint a new token instead.";
            return Err(wrong_as("token-no-roles", "token_id", text));
        }
        let mine = roles::some(&mut change, Which::OfBoth(server.id, user.id)).await?;
        let chosen = carried(&token, &mine).map_err(|lost| {
            let text = format!("Cannot renew: the following roles are no longer assigned to you: {}", lost.join(", "));
            let error = Error::new(StatusCode::FORBIDDEN, text).with("reason", "roles-lost");
            error.with("roles", lost.join(", "))
        })?;
        if token.revoked_at.is_some() {
            let text = "A revoked token can't be renewed; ask for a new one.";
            return Err(wrong_as("token-revoked", "token_id", text));
        }
        let beyond = "Requested lifetime exceeds the maximum permitted by the server and original roles";
        self.issue(change, actor, user, &server, &token.made.name, &chosen, minutes, ("token.renew", beyond)).await
    }

    /// Revokes a token of theirs.
    ///
    /// # Errors
    /// 404 for a token that is not theirs.
    pub async fn revoke(&self, actor: &Actor, user: &User, id: i64) -> Result<(), Error> {
        let mut change = self.change(actor).await?;
        let token = self.own(&mut change, user, id).await?;
        self.revoke_one(change, actor, &token).await
    }

    /// Revokes anybody's token, for an administrator.
    ///
    /// # Errors
    /// 404 for a token that there is not.
    pub async fn revoke_any(&self, actor: &Actor, id: i64) -> Result<(), Error> {
        let mut change = self.change(actor).await?;
        let token = tokens::find(&mut change, id).await?.ok_or_else(|| Error::of(StatusCode::NOT_FOUND))?;
        self.revoke_one(change, actor, &token).await
    }

    async fn revoke_one(&self, mut change: Change, actor: &Actor, token: &Token) -> Result<(), Error> {
        tokens::revoke(&mut change, token.id).await?;
        let detail = json!({ "id": token.id, "jti": token.made.jti, "server": token.made.server_name, "user": token.made.user_name });
        change.commit(&actor.does("token.revoke", &*token.made.name, detail)).await?;
        self.revoked().await;
        Ok(())
    }

    async fn own(&self, change: &mut Change, user: &User, id: i64) -> Result<Token, Error> {
        let token = tokens::find(change, id).await?.filter(|token| token.made.user == Some(user.id));
        token.ok_or_else(|| Error::of(StatusCode::NOT_FOUND))
    }

    #[expect(clippy::too_many_arguments, reason = "what mint and renew have found out")]
    async fn issue(
        &self,
        mut change: Change,
        actor: &Actor,
        user: &User,
        server: &Server,
        name: &str,
        chosen: &[(Role, Only)],
        minutes: Option<i64>,
        (action, beyond): (&'static str, &'static str),
    ) -> Result<Minted, Error> {
        let now = now();
        let lifetime = lifetime(now, server, chosen, minutes, beyond)?;
        let mut wish = Wish {
            user: user.name.clone(),
            audience: server.wanted.name.clone(),
            lifetime: Duration::from_secs(lifetime.unsigned_abs()),
            ..Wish::default()
        };
        for (role, only) in chosen {
            let mut scopes = roles::scope_names(&mut change, role.id).await?;
            if let Some(only) = only {
                if let Some(other) = only.difference(&scopes).next().filter(|_| action == "token.mint") {
                    let text = format!("Role '{}' has no scope '{other}'", role.wanted.name);
                    return Err(wrong_as("scope-not-of-role", "roles", text).with("role", &*role.wanted.name));
                }
                scopes.retain(|scope| only.contains(scope));
            }
            if scopes.is_empty() {
                let text = format!("Nothing is selected of the role '{}'", role.wanted.name);
                return Err(wrong_as("role-empty", "roles", text).with("role", &*role.wanted.name));
            }
            let (first, last) = (role.wanted.days.0.as_deref(), role.wanted.days.1.as_deref());
            let dates = Dates::parse(first, last).map_err(|why| format!("the days of role {}: {why}", role.id));
            let dates = dates.map_err(|why| Error::of(StatusCode::INTERNAL_SERVER_ERROR).because(why))?;
            wish.role_dates.insert(role.wanted.name.clone(), dates);
            wish.roles.push((role.wanted.name.clone(), scopes.into_iter().collect()));
        }
        let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(now.unsigned_abs());
        // Signing takes tens of milliseconds with a key of 4096 bits: others are answered meanwhile.
        let token = tokio::task::block_in_place(|| self.keys.minter.mint(&wish, moment, &mut rand::rng()))?;
        // What is handed out is what a FlowAPI will take.
        let read = Verifier::new(self.keys.minter.keys(), &*server.wanted.name).verify(&token, moment)?;
        let (Some(jti), Some(expires_at)) = (read.id, read.expires) else {
            return Err(Error::of(StatusCode::INTERNAL_SERVER_ERROR).because("a token of ours has no id or no end"));
        };
        let made = Made {
            name: name.to_owned(),
            jti,
            sealed: self.keys.vault.seal(&token),
            user: Some(user.id),
            user_name: user.name.clone(),
            server: Some(server.id),
            server_name: server.wanted.name.clone(),
            issued_at: now,
            expires_at,
        };
        let carried = chosen.iter().map(|(role, only)| Carried {
            id: Some(role.id),
            name: role.wanted.name.clone(),
            chosen: only.clone(),
        });
        let id = tokens::add(&mut change, &made, &carried.collect::<Vec<_>>()).await?;
        let names: Vec<&str> = chosen.iter().map(|(role, _)| role.wanted.name.as_str()).collect();
        let detail = json!({
            "id": id, "jti": made.jti, "server": made.server_name, "roles": names, "expires": times::iso(expires_at),
        });
        change.commit(&actor.does(action, name, detail)).await?;
        Ok(Minted { id, token, expires_at })
    }
}

/// How many seconds the token may live: as many as were asked for, if that is within all limits.
fn lifetime(
    now: i64,
    server: &Server,
    chosen: &[(Role, Only)],
    minutes: Option<i64>,
    beyond: &'static str,
) -> Result<i64, Error> {
    let (of_server, of_roles) = (&server.wanted, chosen.iter().map(|(role, _)| &role.wanted));
    let over = of_roles.clone().find(|role| role.latest_expiry.is_some_and(|latest| latest <= now));
    if let Some(role) = over {
        let text = format!("The role '{}' has ended; ask an administrator for a later end.", role.name);
        return Err(wrong_as("role-ended", "roles", text).with("role", &*role.name));
    }
    if of_server.latest_expiry.is_some_and(|latest| latest <= now) {
        let text =
            format!("Tokens for the server '{}' have ended; ask an administrator for a later end.", of_server.name);
        return Err(wrong_as("server-ended", "roles", text).with("server", &*of_server.name));
    }
    let limits = of_roles.map(|role| (role.longest_minutes, role.latest_expiry));
    let most = latest_end(now, limits.chain([(of_server.longest_minutes, of_server.latest_expiry)])) - now;
    match minutes {
        None if most > 0 => Ok(most),
        None => Err(wrong_as("no-lifetime", "roles", "The selected roles allow no lifetime; ask an administrator.")),
        Some(minutes) if minutes <= 0 => {
            Err(wrong_as("positive", "lifetime_minutes", "lifetime_minutes must be a positive integer"))
        }
        Some(minutes) if minutes.saturating_mul(60) > most => {
            Err(wrong_as("beyond", "lifetime_minutes", beyond).with("seconds", most))
        }
        Some(minutes) => Ok(minutes * 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_limit_is_the_end() {
        assert_eq!(latest_end(1000, [(10, None), (5, None)]), 1300);
        assert_eq!(latest_end(1000, [(10, Some(1200)), (5, None)]), 1200);
        assert_eq!(latest_end(1000, [(10, Some(900))]), 900, "it is over");
        assert_eq!(latest_end(1000, [(i64::MAX, None)]), i64::MAX);
        assert_eq!(latest_end(1000, []), 1000);
    }
}
