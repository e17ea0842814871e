//! Signing in, with a code where there is a second factor; signing out; taking an invitation.

use http::{StatusCode, header};
use maud::html;
use web::Error;
use web::axum::extract::Path;
use web::axum::response::{IntoResponse as _, Response};

use super::passkeys::asked as asked_passkey;
use super::{Form, Input, Page, Wrongs, quoted, to};
use crate::acts::signin::{Given, Proof};
use crate::acts::{missing, signin, users};
use crate::caller::Access::Open;
use crate::caller::{self, Begun, link_digest};
use crate::passwords::Strength;
use crate::routes::{Answer, Table};
use crate::store::audit::Actor;
use crate::store::sessions::{self, Session};
use crate::store::users::User;
use crate::store::{factors, passkeys};

pub fn enter(table: Table) -> Table {
    table
        .page("/sign-in", Open, show)
        .form("/sign-in", Open, sign_in)
        .page("/sign-in/code", Open, show_code)
        .form("/sign-in/code", Open, give_code)
        .form("/sign-out", Open, sign_out)
        .page("/invitation/{key}", Open, show_invitation)
        .form("/invitation/{key}", Open, accept)
}

/// Where somebody wanted to go, if that is a page of ours.
pub fn wanted(next: &str) -> &str {
    let is_ours = next.starts_with('/') && !next.starts_with("//") && !next.contains(['\\', '?', '#']);
    if is_ours && !next.chars().any(char::is_control) { next } else { "/" }
}

async fn show(page: Page) -> Answer {
    if page.user().is_ok() {
        return Ok(to("/"));
    }
    let next = page.query("next").unwrap_or_default();
    sign_in_form(&page, &Wrongs::default(), "", &next)
}

/// The page to sign in, by password or by what the organisation has.
pub fn sign_in_form(page: &Page, wrongs: &Wrongs, name: &str, next: &str) -> Answer {
    let id = ("username", "password");
    let body = html! {
        form method="post" action="/sign-in" .card {
            input type="hidden" name="next" value=(wanted(next));
            (page.input(wrongs, &Input {
                id: id.0, label: page.t("sign-in.name"), value: name, autocomplete: "username", ..Input::default()
            }))
            (page.input(wrongs, &Input {
                id: id.1, label: page.t("sign-in.password"), kind: "password", autocomplete: "current-password", ..Input::default()
            }))
            button #signin-button .main { (page.t("sign-in.title")) }
        }
        @if let Some(provider) = &page.app.options.provider {
            p { a #provider .button href={ "/sign-in/provider?next=" (quoted(wanted(next))) } { (page.f("sign-in.provider", &[("title", &provider.options.title)])) } }
        }
        p .hint { (page.t("sign-in.lost")) }
    };
    page.show_with(page.t("sign-in.title"), wrongs, body)
}

async fn sign_in(page: Page, form: Form) -> Answer {
    let (name, password, next) = (form.text("username"), form.text("password"), form.text("next"));
    let mut wrongs = Wrongs::default();
    if name.is_empty() {
        wrongs.add("username", page.t("sign-in.name-missing"));
    }
    if password.is_empty() {
        wrongs.add("password", page.t("sign-in.password-missing"));
    }
    if wrongs.any() {
        return sign_in_form(&page, &wrongs, name, next);
    }
    let actor = Actor { user: None, ..page.caller.actor.clone() };
    let (user, hash) = match signin::known(&page.app, &actor, &page.headers, name, password).await {
        Ok(known) => known,
        Err(error) => {
            let wrongs = page.wrongs(error)?.named(&[("", "username")]);
            return sign_in_form(&page, &wrongs, name, next);
        }
    };
    let proof = Proof::Password(&hash);
    if user.has_factor {
        let begun = signin::await_code(&page.app, &actor, &page.headers, &user, proof).await?;
        return Ok(signed_in(&page, &format!("/sign-in/code?next={}", quoted(wanted(next))), &begun));
    }
    let begun = signin::begin(&page.app, &actor, &page.headers, &user, proof, Given::Nothing).await?;
    Ok(signed_in(&page, wanted(next), &begun))
}

/// Sends somebody on who has got a session.
pub fn signed_in(page: &Page, path: &str, begun: &Begun) -> Response {
    let mut response = to(path);
    caller::sign_in_cookies(&page.app, response.headers_mut(), begun);
    response
}

/// Whoever has given their password here, and not yet their code.
pub async fn halfway(page: &Page) -> Result<Option<Session>, Error> {
    let Some(id) = caller::brought(&page.headers) else { return Ok(None) };
    let session = sessions::find(&mut *page.app.store.read().await?, &id).await?;
    Ok(session.filter(|session| !session.is_complete))
}

async fn show_code(page: Page) -> Answer {
    let next = page.query("next").unwrap_or_default();
    match halfway(&page).await? {
        Some(session) => second_step(&page, &Wrongs::default(), &session.user, &next).await,
        None => Ok(to("/sign-in")),
    }
}

/// Asks for a passkey where there is one, or for a code.
pub async fn second_step(page: &Page, wrongs: &Wrongs, user: &User, next: &str) -> Answer {
    let (passkeys, codes) = {
        let mut db = page.app.store.read().await?;
        (passkeys::of_user(&mut db, user.id).await?, factors::codes(&mut db, user.id).await?.len())
    };
    let has_code = user.has_app || codes > 0;
    let body = html! {
        (asked_passkey(page, &passkeys, next))
        @if has_code {
            form method="post" action="/sign-in/code" .card {
                (page.hidden())
                input type="hidden" name="next" value=(wanted(next));
                (page.input(wrongs, &Input {
                    id: "two_factor_code", label: page.t("sign-in.code"), hint: page.t("sign-in.code-hint"),
                    autocomplete: "one-time-code", short: true, ..Input::default()
                }))
                button #signin-button .main { (page.t("sign-in.title")) }
            }
        }
        p { a href="/sign-in" { (page.t("sign-in.again")) } }
    };
    let title = if passkeys.is_empty() { page.t("sign-in.code-title") } else { page.t("sign-in.second-title") };
    page.show_with(title, wrongs, body)
}

async fn give_code(page: Page, form: Form) -> Answer {
    let Some(session) = halfway(&page).await? else { return Ok(to("/sign-in")) };
    let (user, proof) = (session.user, Proof::Session(&session.id));
    if form.text("csrf") != page.csrf() {
        return Err(Error::of(StatusCode::FORBIDDEN).with("csrf", true));
    }
    let next = form.text("next");
    let Some(code) = form.some("two_factor_code") else {
        let mut wrongs = Wrongs::default();
        wrongs.add("two_factor_code", page.t("sign-in.code-missing"));
        return second_step(&page, &wrongs, &user, next).await;
    };
    let actor = Actor { user: None, ..page.caller.actor.clone() };
    match signin::begin(&page.app, &actor, &page.headers, &user, proof, Given::Code(code)).await {
        Ok(begun) => Ok(signed_in(&page, wanted(next), &begun)),
        Err(error) => second_step(&page, &page.wrongs(error)?.named(&[("", "two_factor_code")]), &user, next).await,
    }
}

async fn sign_out(page: Page, form: Form) -> Answer {
    // The route is open, so that who is out already is not told to sign in first; a session is ended by its own pages alone.
    if page.user().is_ok() && form.text("csrf") != page.csrf() && !page.headers.contains_key("x-csrf-token") {
        return Err(Error::of(StatusCode::FORBIDDEN).with("csrf", true));
    }
    signin::end(&page.app, &page.caller).await?;
    let mut response = page.done("signed-out", "/sign-in")?;
    caller::sign_out_cookies(response.headers_mut());
    Ok(response)
}

async fn show_invitation(page: Page, Path(key): Path<String>) -> Answer {
    let user = invited(&page, &key).await?;
    invitation(&page, &Wrongs::default(), &user, &key)
}

async fn invited(page: &Page, key: &str) -> Result<User, Error> {
    let gone = || missing().with("reason", "invitation");
    let digest = link_digest(key).ok_or_else(gone)?;
    users::invited(&page.app, &digest).await?.ok_or_else(gone)
}

fn invitation(page: &Page, wrongs: &Wrongs, user: &User, key: &str) -> Answer {
    let action = format!("/invitation/{key}");
    let body = html! {
        p { (page.f("invitation.about", &[("user", &user.name)])) }
        form method="post" action=(action) .card {
            // For programs that keep passwords.
            input type="hidden" name="username" autocomplete="username" value=(user.name);
            (new_password(page, wrongs, &action))
            button .main { (page.t("invitation.save")) }
        }
    };
    page.show_with(page.t("invitation.title"), wrongs, body)
}

/// Two fields of a new password, with a meter where there is script.
pub fn new_password(page: &Page, wrongs: &Wrongs, ask: &str) -> maud::Markup {
    let hint = page.t("password.rule");
    html! {
        (page.input(wrongs, &Input {
            id: "newPasswordA", label: page.t("password.new"), hint, kind: "password", autocomplete: "new-password", ..Input::default()
        }))
        p .meter hidden data-meter="newPasswordA" data-ask=(ask) aria-live="polite" {}
        (page.input(wrongs, &Input {
            id: "newPasswordB", label: page.t("password.again"), kind: "password", autocomplete: "new-password", ..Input::default()
        }))
    }
}

/// A new password that was typed twice.
pub fn typed_twice<'a>(page: &Page, form: &'a Form, wrongs: &mut Wrongs) -> &'a str {
    let (first, second) = (form.text("newPasswordA"), form.text("newPasswordB"));
    if first.is_empty() {
        wrongs.add("newPasswordA", page.t("password.new-missing"));
    } else if first != second {
        wrongs.add("newPasswordB", page.t("password.differ"));
    }
    first
}

/// How good a password is, for the meter.
pub fn strength(page: &Page, password: &str, user: &str) -> Answer {
    // So many characters decide it.
    let few: String = password.chars().take(100).collect();
    let score = Strength::of(&few, user).score;
    let words = page.f(&format!("strength.{score}"), &[]);
    let body = serde_json::json!({ "score": score, "text": words }).to_string();
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

async fn accept(page: Page, Path(key): Path<String>, form: Form) -> Answer {
    let user = invited(&page, &key).await?;
    if form.ticked("measure") {
        return strength(&page, form.text("measure"), &user.name);
    }
    let mut wrongs = Wrongs::default();
    let password = typed_twice(&page, &form, &mut wrongs);
    if wrongs.any() {
        return invitation(&page, &wrongs, &user, &key);
    }
    let digest = link_digest(&key).ok_or_else(missing)?;
    let actor = Actor { user: None, ..page.caller.actor.clone() };
    match users::accept(&page.app, &actor, &digest, password).await {
        Ok(()) => page.done("invited", "/sign-in"),
        Err(error) => {
            let wrongs = page.wrongs(error)?.named(&[("newPassword", "newPasswordA")]);
            invitation(&page, &wrongs, &user, &key)
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_a_page_of_ours_comes_next() {
        for (next, expected) in [
            ("/my/servers/1", "/my/servers/1"),
            ("//evil.example", "/"),
            ("https://evil.example", "/"),
            ("/\\evil.example", "/"),
            ("/a\nb", "/"),
            ("", "/"),
        ] {
            assert_eq!(super::wanted(next), expected, "{next:?}");
        }
    }
}
