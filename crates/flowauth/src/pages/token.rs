//! One's own tokens: which there are for a server, what each allows, and its renewal and end.

use http::header;
use maud::{Markup, html};
use web::Error;
use web::axum::response::IntoResponse as _;

use super::{Form, Page, Wrongs};
use crate::acts::missing;
use crate::caller::Access::User;
use crate::routes::body::Id;
use crate::routes::{Answer, Table};
use crate::store::now;
use crate::store::roles::{self, Role, Which};
use crate::store::servers::{self, Server};
use crate::store::tokens::{self, Token};

pub fn enter(table: Table) -> Table {
    table
        .page("/my/servers/{id}", User, list)
        .page("/my/tokens/{id}", User, show)
        .page("/my/tokens/{id}/download", User, download)
        .page("/my/tokens/{id}/renew", User, ask_renew)
        .form("/my/tokens/{id}/renew", User, renew)
        .page("/my/tokens/{id}/revoke", User, ask_revoke)
        .form("/my/tokens/{id}/revoke", User, revoke)
}

/// A server on which one has a role or had a token. Of others nobody learns here that they are.
pub async fn mine(page: &Page, id: i64) -> Result<(Server, Vec<Role>, Vec<Token>), Error> {
    let user = page.user()?;
    let mut db = page.app.store.read().await?;
    let server = servers::find(&mut db, id).await?.ok_or_else(missing)?;
    let roles = roles::some(&mut db, Which::OfBoth(id, user.id)).await?;
    let tokens = tokens::of_user(&mut db, user.id, id).await?;
    if roles.is_empty() && tokens.is_empty() {
        return Err(missing());
    }
    Ok((server, roles, tokens))
}

fn is_live(token: &Token) -> bool {
    token.revoked_at.is_none() && token.made.expires_at > now()
}

async fn list(page: Page, Id(id): Id<i64>) -> Answer {
    let (server, roles, tokens) = mine(&page, id).await?;
    let (live, over): (Vec<&Token>, Vec<&Token>) = tokens.iter().partition(|token| is_live(token));
    let (revoked, expired): (Vec<&Token>, Vec<&Token>) = over.into_iter().partition(|token| token.revoked_at.is_some());
    let part = |title: &str, tokens: &[&Token]| {
        html! {
            @if !tokens.is_empty() { h2 { (title) } ul .rows { @for token in tokens { (row(&page, token)) } } }
        }
    };
    let body = html! {
        p { (page.t("tokens.about")) }
        @if roles.is_empty() { p .note { (page.t("tokens.no-roles")) } }
        @else { div .actions { a #new .button.main href={ "/my/servers/" (id) "/new" } { (page.t("tokens.new")) } } }
        @if live.is_empty() { h2 { (page.t("tokens.active")) } p .empty { (page.t("tokens.empty")) } }
        (part(page.t("tokens.active"), &live))
        (part(page.t("tokens.expired"), &expired))
        (part(page.t("tokens.revoked"), &revoked))
    };
    page.show(&page.f("tokens.title", &[("server", &server.wanted.name)]), body)
}

fn row(page: &Page, token: &Token) -> Markup {
    let (id, name) = (token.id, &token.made.name);
    let roles: Vec<&str> = token.roles.iter().map(|role| role.name.as_str()).collect();
    let link = |what: &str, text: &str| {
        html! { a href={ "/my/tokens/" (id) (what) } aria-label={ (text) ": " (name) } { (text) } " " }
    };
    html! {
        li {
            div { b { (name) } @if !roles.is_empty() { div .hint { (page.f("tokens.roles", &[("roles", &roles.join(", "))])) } } }
            div { (ends(page, token)) }
            div .links {
                @if token.revoked_at.is_none() { (link("", page.t("tokens.view"))) (link("/renew", page.t("tokens.renew"))) }
                @if is_live(token) { (link("/revoke", page.t("tokens.revoke"))) }
            }
        }
    }
}

fn ends(page: &Page, token: &Token) -> Markup {
    html! {
        @if let Some(at) = token.revoked_at { span .badge.bad { (page.t("tokens.is-revoked")) } " " (page.until(at)) }
        @else if is_live(token) { (page.t("tokens.ends")) " " (page.until(token.made.expires_at)) }
        @else { span .badge { (page.t("tokens.is-expired")) } " " (page.until(token.made.expires_at)) }
    }
}

async fn own(page: &Page, id: i64) -> Result<Token, Error> {
    let user = page.user()?.id;
    let token = tokens::find(&mut *page.app.store.read().await?, id).await?;
    token.filter(|token| token.made.user == Some(user)).ok_or_else(missing)
}

/// Where one's tokens of the same server are.
fn back(token: &Token) -> String {
    token.made.server.map_or("/".to_owned(), |server| format!("/my/servers/{server}"))
}

async fn show(page: Page, Id(id): Id<i64>) -> Answer {
    let token = own(&page, id).await?;
    let text = page.app.keys.vault.open(&token.made.sealed)?;
    let body = html! {
        dl .facts {
            dt { (page.t("tokens.server")) } dd { (token.made.server_name) }
            dt { (page.t("tokens.state")) } dd { (ends(&page, &token)) }
            dt { (page.t("tokens.made")) } dd { (page.time(token.made.issued_at)) }
            dt { (page.t("tokens.its-roles")) }
            dd {
                @for role in &token.roles {
                    div {
                        (role.name)
                        @if let Some(chosen) = &role.chosen {
                            details { summary { (page.n("tokens.part", chosen.len())) } ul .plain { @for scope in chosen { li { code { (scope) } } } } }
                        }
                    }
                }
            }
        }
        @if token.revoked_at.is_none() {
            label for="token" { (page.t("tokens.text")) }
            p .hint { (page.t("tokens.text-hint")) }
            textarea #token .token readonly rows="8" spellcheck="false" { (*text) }
            div .actions {
                button type="button" .main hidden data-copy="token" data-copied=(page.t("form.copied")) { (page.t("form.copy")) }
                a .button href={ "/my/tokens/" (id) "/download" } { (page.t("form.download")) }
                a .button href={ "/my/tokens/" (id) "/renew" } { (page.t("tokens.renew")) }
                @if is_live(&token) { a .button.danger href={ "/my/tokens/" (id) "/revoke" } { (page.t("tokens.revoke")) } }
            }
            h2 { (page.t("tokens.use")) }
            pre { code {
                "import flowclient\n"
                "token = open(\"" (file_name(&token)) "\").read().strip()\n"
                "connection = flowclient.connect(url=\"https://…\", token=token)\n"
            } }
        }
        p { a href=(back(&token)) { (page.t("tokens.back")) } }
    };
    page.show(&page.f("tokens.one", &[("name", &token.made.name)]), body)
}

/// What a file of a token is called: only what every file system takes.
fn file_name(token: &Token) -> String {
    let name: String =
        token.made.name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    format!("{}.txt", name.trim_start_matches('.'))
}

async fn download(page: Page, Id(id): Id<i64>) -> Answer {
    let token = own(&page, id).await?;
    let text = page.app.keys.vault.open(&token.made.sealed)?;
    let named = format!("attachment; filename=\"{}\"", file_name(&token));
    let headers =
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, named)];
    Ok((headers, text.to_string()).into_response())
}

async fn ask_renew(page: Page, Id(id): Id<i64>) -> Answer {
    let token = own(&page, id).await?;
    renewal(&page, &token, &Wrongs::default(), None)
}

fn renewal(page: &Page, token: &Token, wrongs: &Wrongs, minutes: Option<i64>) -> Answer {
    let body = html! {
        p { (page.t("tokens.renew-about")) }
        form method="post" action={ "/my/tokens/" (token.id) "/renew" } .card {
            (page.hidden())
            (page.lifetime(wrongs, "lifetime_minutes", page.t("token.lifetime"), page.t("token.lifetime-hint"), minutes))
            div .actions { button .main { (page.t("tokens.renew")) } a href=(back(token)) { (page.t("form.cancel")) } }
        }
    };
    page.show_with(&page.f("tokens.renew-title", &[("name", &token.made.name)]), wrongs, body)
}

/// A lifetime as two fields say it. `Err`: it is no number.
pub fn minutes(form: &Form, field: &str) -> Result<Option<i64>, ()> {
    let Some(text) = form.some(field) else { return Ok(None) };
    let unit: i64 = match form.text(&format!("{field}-unit")) {
        "1440" => 1440,
        "60" => 60,
        _ => 1,
    };
    // A hundred years: its end is a time that everybody can write.
    let minutes = text.parse::<i64>().ok().and_then(|number| number.checked_mul(unit));
    minutes.filter(|minutes| (1..=52_596_000).contains(minutes)).map(Some).ok_or(())
}

async fn renew(page: Page, Id(id): Id<i64>, form: Form) -> Answer {
    let token = own(&page, id).await?;
    let Ok(minutes) = minutes(&form, "lifetime_minutes") else {
        let mut wrongs = Wrongs::default();
        wrongs.add("lifetime_minutes", page.t("form.number"));
        return renewal(&page, &token, &wrongs, None);
    };
    match page.app.renew(&page.caller.actor, page.user()?, id, minutes).await {
        Ok(minted) => page.done("token-renewed", &format!("/my/tokens/{}", minted.id)),
        Err(error) => {
            let names = [("", "lifetime_minutes"), ("roles", "lifetime_minutes"), ("token_id", "lifetime_minutes")];
            renewal(&page, &token, &page.wrongs(error)?.named(&names), minutes)
        }
    }
}

async fn ask_revoke(page: Page, Id(id): Id<i64>) -> Answer {
    let token = own(&page, id).await?;
    let body = html! {
        p { (page.t("tokens.revoke-about")) }
        div .actions {
            (page.button(&format!("/my/tokens/{id}/revoke"), "", "danger", page.t("tokens.revoke")))
            a href=(back(&token)) { (page.t("form.cancel")) }
        }
    };
    page.show(&page.f("tokens.revoke-title", &[("name", &token.made.name)]), body)
}

async fn revoke(page: Page, Id(id): Id<i64>) -> Answer {
    let token = own(&page, id).await?;
    page.app.revoke(&page.caller.actor, page.user()?, id).await?;
    page.done("token-revoked", &back(&token))
}
