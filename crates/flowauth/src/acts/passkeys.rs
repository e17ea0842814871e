//! Passkeys: added and removed by their user, and asked for when they sign in.

use http::StatusCode;
use serde_json::{Value, json};
use web::Error;

use super::{LONGEST_NAME, missing, wrong_as};
use crate::app::App;
use crate::caller::Caller;
use crate::passkeys::{ALGORITHMS, Answer, Expected, Refusal, encode, made, used};
use crate::store::passkeys::{self, Passkey};
use crate::store::users::User;
use crate::store::{Change, sessions};

/// Passkeys that a user may have.
const MOST: usize = 20;

/// How long a browser waits for somebody to touch theirs, in milliseconds: as long as the question may be answered.
const PATIENCE: u32 = 300_000;

/// What a browser brings that has made one, in base64.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// What its user calls it.
    pub name: &'a str,
    /// What the browser says.
    pub client: &'a str,
    /// What the authenticator says.
    pub authenticator: &'a str,
    /// How it is reached, with commas.
    pub transports: &'a str,
}

/// Passkeys as browsers are told of them.
fn listed(keys: &[Passkey], site: &str) -> Vec<Value> {
    let own = keys.iter().filter(|key| key.site == site);
    own.map(|key| {
        let transports: Vec<&str> = key.transports.split(',').filter(|text| !text.is_empty()).collect();
        json!({ "type": "public-key", "id": key.credential, "transports": transports })
    })
    .collect()
}

/// A question for the browser of a session.
async fn question(app: &App, session: &str) -> Result<String, Error> {
    let challenge = encode(&rand::random::<[u8; 32]>());
    passkeys::ask(&mut *app.store.read().await?, session, &challenge).await?;
    Ok(challenge)
}

/// What a browser is to make a new passkey of (`PublicKeyCredentialCreationOptions`, with base64 for bytes).
pub async fn ask_new(app: &App, caller: &Caller, site: &str) -> Result<Value, Error> {
    let user = caller.user()?;
    let session = caller.session().ok_or_else(|| Error::of(StatusCode::UNAUTHORIZED))?;
    let had = passkeys::of_user(&mut *app.store.read().await?, user.id).await?;
    let kinds: Vec<Value> = ALGORITHMS.iter().map(|alg| json!({ "type": "public-key", "alg": alg })).collect();
    Ok(json!({
        "challenge": question(app, session).await?,
        "rp": { "id": site, "name": app.options.issuer },
        "user": { "id": encode(app.handle(user.id).as_bytes()), "name": user.name, "displayName": user.name },
        "pubKeyCredParams": kinds,
        "excludeCredentials": listed(&had, site),
        "authenticatorSelection": { "residentKey": "preferred", "userVerification": "preferred" },
        "attestation": "none",
        "timeout": PATIENCE,
    }))
}

/// What went wrong with one, for people.
fn refused(refusal: Refusal) -> Error {
    Error::new(StatusCode::BAD_REQUEST, "The passkey can't be used.").with("reason", "passkey").because(refusal)
}

/// How it is reached: what browsers say, and nothing that only looks so.
fn transports(text: &str) -> String {
    let is_word =
        |text: &&str| (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    text.split(',').filter(is_word).take(8).collect::<Vec<_>>().join(",")
}

/// Adds one.
pub async fn add(app: &App, caller: &Caller, site: &str, new: New<'_>) -> Result<(), Error> {
    let user = caller.user()?;
    let session = caller.session().ok_or_else(|| Error::of(StatusCode::UNAUTHORIZED))?;
    let challenge = passkeys::answered(&mut *app.store.read().await?, session).await?;
    let challenge = challenge.ok_or_else(|| refused(Refusal::Challenge))?;
    let made = made(Expected { challenge: &challenge, site }, new.client, new.authenticator).map_err(refused)?;
    // By now the authenticator has it: a name is no reason to lose it.
    let name: String = new.name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
    let passkey = Passkey {
        id: 0,
        credential: made.credential,
        key: made.key,
        site: site.to_owned(),
        name: name.clone(),
        transports: transports(new.transports),
        counter: made.counter,
        created_at: 0,
        used_at: None,
    };
    let mut change = app.change(&caller.actor).await?;
    if passkeys::of_user(&mut change, user.id).await?.len() >= MOST {
        return Err(wrong_as("passkey-number", "", format!("You have {MOST} passkeys; remove one first.")));
    }
    let id = passkeys::add(&mut change, user.id, &passkey).await.map_err(|error| match error.is_taken() {
        true => wrong_as("passkey-known", "", "This passkey is known already."),
        false => error.into(),
    })?;
    if !user.has_factor {
        // Who came in without a second factor is out.
        sessions::end_others(&mut change, user.id, Some(session)).await?;
    }
    Ok(change.commit(&caller.actor.does("passkey.add", name, json!({ "id": id, "site": site }))).await?)
}

/// Removes one.
pub async fn remove(app: &App, caller: &Caller, id: i64) -> Result<(), Error> {
    let user = caller.user()?;
    let mut change = app.change(&caller.actor).await?;
    let name = passkeys::remove(&mut change, user.id, id).await?.ok_or_else(missing)?;
    let is_last = !user.has_app && passkeys::of_user(&mut change, user.id).await?.is_empty();
    if is_last && user.needs_factor {
        let text = "An administrator requires two-factor authentication of you.";
        return Err(Error::new(StatusCode::FORBIDDEN, text).with("reason", "factor-required"));
    }
    if is_last {
        // Codes alone are no second factor.
        crate::store::factors::disable(&mut change, user.id).await?;
    }
    Ok(change.commit(&caller.actor.does("passkey.remove", name, json!({ "id": id, "last": is_last }))).await?)
}

/// What a browser is to sign (`PublicKeyCredentialRequestOptions`), for the session of somebody who has given their password.
pub async fn ask(app: &App, session: &str, user: &User, site: &str) -> Result<Value, Error> {
    let keys = passkeys::of_user(&mut *app.store.read().await?, user.id).await?;
    Ok(json!({
        "challenge": question(app, session).await?,
        "rpId": site,
        "allowCredentials": listed(&keys, site),
        "userVerification": "preferred",
        "timeout": PATIENCE,
    }))
}

/// Takes what one has signed. `Ok(Err(_))`: why it is not taken.
pub async fn take(
    change: &mut Change,
    user: &User,
    expected: Expected<'_>,
    answer: Answer<'_>,
) -> Result<Result<(), Refusal>, Error> {
    let keys = passkeys::of_user(change, user.id).await?;
    let Some(key) = keys.iter().find(|key| key.credential == answer.credential && key.site == expected.site) else {
        return Ok(Err(Refusal::Key));
    };
    let counter = match used(expected, &key.key, key.counter, answer) {
        Ok(counter) => counter,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let taken = passkeys::take(change, key.id, key.counter, counter).await?;
    Ok(if taken { Ok(()) } else { Err(Refusal::Counter) })
}
