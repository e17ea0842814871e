//! Passkeys. They need script, for browsers give them to nothing else: it asks the server for the question, and sends the answer by the form
//! that it belongs to. Where there is no script, or nothing that could answer, the page says so and what else can be done.

use http::{StatusCode, header};
use maud::{Markup, html};
use web::Error;
use web::axum::response::{IntoResponse as _, Response};

use super::factor;
use super::signin::{halfway, second_step, signed_in, wanted};
use super::{Form, Input, Page, Wrongs, to};
use crate::acts::passkeys::{self as acts, New};
use crate::acts::signin::{self, Given, Proof};
use crate::acts::{missing, wrong_as};
use crate::caller::Access::{Account, Open, SignedIn};
use crate::passkeys::{Answer as Signed, site};
use crate::routes::body::Id;
use crate::routes::{Answer, Table};
use crate::store::audit::Actor;
use crate::store::passkeys::{self, Passkey};

pub fn enter(table: Table) -> Table {
    table
        .form("/account/two-factor/passkeys/ask", SignedIn, ask_new)
        .form("/account/two-factor/passkeys", SignedIn, add)
        .page("/account/passkeys/{id}/remove", Account, ask_remove)
        .form("/account/passkeys/{id}/remove", Account, remove)
        .form("/sign-in/passkey/ask", Open, ask)
        .form("/sign-in/passkey", Open, sign_in)
}

/// The name under which this browser has come, if it is one that can have passkeys.
fn own_site(page: &Page) -> Result<String, Error> {
    site(&page.origin()).ok_or_else(|| wrong_as("passkey-address", "", "Passkeys need a name and HTTPS."))
}

fn options(options: &serde_json::Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], options.to_string()).into_response()
}

/// What a form needs that a passkey answers: fields for the answer, and what to say where there is none.
fn ground(page: &Page, unable: &str, failed: &str) -> Markup {
    html! {
        (page.hidden())
        @for name in ["credential", "client", "authenticator", "signature", "transports"] { input type="hidden" name=(name); }
        noscript { p .note { (page.t("passkeys.script")) } }
        p .note hidden data-say="unable" { (unable) }
        p .wrong hidden role="alert" data-say="failed" { (failed) }
    }
}

/// A user's passkeys, and how another is added.
pub fn section(page: &Page, keys: &[Passkey]) -> Markup {
    html! {
        h2 { (page.t("passkeys.title")) }
        p { (page.t("passkeys.about")) }
        @if !keys.is_empty() {
            ul .rows {
                @for key in keys {
                    li {
                        div { b { (key.name) } " " span .hint { (page.f("passkeys.site", &[("site", &key.site)])) } }
                        div {
                            @if let Some(used) = key.used_at { (page.t("keys.used")) " " (page.until(used)) }
                            @else { (page.t("keys.unused")) }
                        }
                        div { a href={ "/account/passkeys/" (key.id) "/remove" } aria-label={ (page.t("keys.remove")) ": " (key.name) } { (page.t("keys.remove")) } }
                    }
                }
            }
        }
        @if site(&page.origin()).is_none() { p .note { (page.t("reason.passkey-address")) } }
        @else {
            form method="post" action="/account/two-factor/passkeys" .card data-passkey data-ask="/account/two-factor/passkeys/ask" {
                (ground(page, page.t("passkeys.unable"), page.t("passkeys.failed")))
                p .wrong hidden role="alert" data-say="known" { (page.t("reason.passkey-known")) }
                div hidden data-able {
                    (page.input(&Wrongs::default(), &Input {
                        id: "passkey-name", label: page.t("keys.name"), hint: page.t("passkeys.name-hint"), ..Input::default()
                    }))
                    button #add_passkey { (page.t("passkeys.add")) }
                }
            }
        }
    }
}

async fn ask_new(page: Page) -> Answer {
    Ok(options(&acts::ask_new(&page.app, &page.caller, &own_site(&page)?).await?))
}

async fn add(page: Page, form: Form) -> Answer {
    let new = New {
        name: form.some("passkey-name").unwrap_or(page.t("passkeys.one")),
        client: form.text("client"),
        authenticator: form.text("authenticator"),
        transports: form.text("transports"),
    };
    let added = async { acts::add(&page.app, &page.caller, &own_site(&page)?, new).await };
    match added.await {
        Ok(()) => page.done("passkey", "/account/two-factor"),
        Err(error) => factor::overview(&page, &page.wrongs(error)?).await,
    }
}

async fn ask_remove(page: Page, Id(id): Id<i64>) -> Answer {
    removal(&page, &Wrongs::default(), id).await
}

async fn removal(page: &Page, wrongs: &Wrongs, id: i64) -> Answer {
    let user = page.user()?;
    let keys = passkeys::of_user(&mut *page.app.store.read().await?, user.id).await?;
    let key = keys.iter().find(|key| key.id == id).ok_or_else(missing)?;
    let is_last = keys.len() == 1 && !user.has_app;
    let body = html! {
        p { @if is_last { (page.t("passkeys.remove-last")) } @else { (page.t("passkeys.remove-about")) } }
        div .actions {
            (page.button(&format!("/account/passkeys/{id}/remove"), "", "danger", page.t("keys.remove")))
            a href="/account/two-factor" { (page.t("form.cancel")) }
        }
    };
    page.show_with(&page.f("passkeys.remove-title", &[("name", &key.name)]), wrongs, body)
}

async fn remove(page: Page, Id(id): Id<i64>) -> Answer {
    match acts::remove(&page.app, &page.caller, id).await {
        Ok(()) => page.done("passkey-removed", "/account/two-factor"),
        Err(error) => removal(&page, &page.wrongs(error)?, id).await,
    }
}

/// What is asked of whoever signs in and has one.
pub fn asked(page: &Page, keys: &[Passkey], next: &str) -> Markup {
    let own = site(&page.origin()).filter(|site| keys.iter().any(|key| key.site == *site));
    let elsewhere: Vec<&str> = keys.iter().map(|key| key.site.as_str()).collect();
    html! {
        @if own.is_some() {
            form method="post" action="/sign-in/passkey" .card data-passkey data-ask="/sign-in/passkey/ask" {
                (ground(page, page.t("passkeys.unable-here"), page.t("passkeys.failed-here")))
                input type="hidden" name="next" value=(wanted(next));
                div hidden data-able { button #passkey-button .main { (page.t("passkeys.use")) } }
            }
        } @else if let Some(site) = elsewhere.first() {
            p .note { (page.f("passkeys.elsewhere", &[("site", site)])) }
        }
    }
}

async fn ask(page: Page, form: Form) -> Answer {
    let Some(session) = halfway(&page).await? else { return Ok(to("/sign-in")) };
    if form.text("csrf") != page.csrf() {
        return Err(Error::of(StatusCode::FORBIDDEN).with("csrf", true));
    }
    Ok(options(&acts::ask(&page.app, &session.id, &session.user, &own_site(&page)?).await?))
}

async fn sign_in(page: Page, form: Form) -> Answer {
    let Some(session) = halfway(&page).await? else { return Ok(to("/sign-in")) };
    if form.text("csrf") != page.csrf() {
        return Err(Error::of(StatusCode::FORBIDDEN).with("csrf", true));
    }
    let next = form.text("next");
    let answer = Signed {
        credential: form.text("credential"),
        client: form.text("client"),
        authenticator: form.text("authenticator"),
        signature: form.text("signature"),
    };
    let actor = Actor { user: None, ..page.caller.actor.clone() };
    let given = Given::Passkey { session: &session.id, site: &own_site(&page)?, answer };
    match signin::begin(&page.app, &actor, &page.headers, &session.user, Proof::Session(&session.id), given).await {
        Ok(begun) => Ok(signed_in(&page, wanted(next), &begun)),
        Err(error) => second_step(&page, &page.wrongs(error)?, &session.user, next).await,
    }
}
