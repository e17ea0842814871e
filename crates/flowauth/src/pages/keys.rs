//! One's keys for programs.

use crate::routes::body::Id;
use maud::{Markup, html};

use super::{Form, Input, Page, Wrongs};
use crate::acts::keys::{self as acts, MOST_DAYS, USUAL_DAYS};
use crate::acts::missing;
use crate::caller::Access::Account;
use crate::routes::{Answer, Table};
use crate::store::keys::{Key, May};
use crate::store::{keys, now};

pub fn enter(table: Table) -> Table {
    table
        .page("/account/keys", Account, show)
        .form("/account/keys", Account, add)
        .page("/account/keys/{id}/remove", Account, ask_remove)
        .form("/account/keys/{id}/remove", Account, remove)
}

async fn show(page: Page) -> Answer {
    list(&page, &Wrongs::default(), &Form::default()).await
}

async fn list(page: &Page, wrongs: &Wrongs, form: &Form) -> Answer {
    let user = page.user()?;
    let keys = keys::of_user(&mut *page.app.store.read().await?, user.id).await?;
    let usual = USUAL_DAYS.to_string();
    let days = form.some("days").unwrap_or(&usual);
    let body = html! {
        p { (page.t("keys.about")) }
        @if keys.is_empty() { p .empty { (page.t("keys.empty")) } }
        ul .rows { @for key in &keys { li { (row(page, key, "/account/keys")) } } }
        h2 { (page.t("keys.new")) }
        form method="post" action="/account/keys" .card {
            (page.hidden())
            (page.input(wrongs, &Input {
                id: "name", label: page.t("keys.name"), hint: page.t("keys.name-hint"), value: form.text("name"), ..Input::default()
            }))
            (page.input(wrongs, &Input {
                id: "days", label: page.t("keys.days"), hint: &page.f("keys.days-hint", &[("days", &MOST_DAYS.to_string())]),
                value: days, inputmode: "numeric", short: true, ..Input::default()
            }))
            @if user.is_admin {
                (choice(page, wrongs, form))
            }
            button .main { (page.t("keys.make")) }
        }
    };
    page.show_with(page.t("keys.title"), wrongs, body)
}

async fn add(page: Page, form: Form) -> Answer {
    match acts::add(&page.app, &page.caller.actor, page.user()?, &wanted(&form)).await {
        Ok(made) => show_key(&page, &made, "/account/keys"),
        Err(error) => list(&page, &page.wrongs(error)?, &form).await,
    }
}

/// What a form wants of a key.
pub fn wanted(form: &Form) -> acts::Wanted {
    acts::Wanted {
        name: form.some("name").map(str::to_owned),
        may: May::of(form.text("may")).unwrap_or_default(),
        days: form.text("days").trim().parse().unwrap_or(0),
    }
}

/// What a key may beyond its user's tokens.
pub fn said(page: &Page, may: May) -> Option<&str> {
    match may {
        May::Tokens => None,
        May::Read => Some(page.t("keys.reads")),
        May::Administer => Some(page.t("keys.administers")),
    }
}

/// Which of them an administrator's new key is.
pub fn choice(page: &Page, wrongs: &Wrongs, form: &Form) -> Markup {
    let chosen = May::of(form.text("may")).unwrap_or_default();
    let words = |may: May| match may {
        May::Tokens => page.t("keys.may-tokens"),
        May::Read => page.t("keys.may-read"),
        May::Administer => page.t("keys.may-administer"),
    };
    page.group(wrongs, "may", page.t("keys.may"), page.t("keys.may-hint"), html! {
        @for may in May::ALL {
            div .tick {
                input #(format!("may-{}", may.name())) type="radio" name="may" value=(may.name()) checked[may == chosen];
                label for={ "may-" (may.name()) } { (words(may)) }
            }
        }
    })
}

/// A new key, this once.
pub fn show_key(page: &Page, made: &acts::Made, back: &str) -> Answer {
    let body = html! {
        p .note { (page.t("keys.once")) }
        label for="key" { (page.t("keys.key")) }
        textarea #key .token readonly rows="2" spellcheck="false" { (made.key) }
        div .actions {
            button type="button" hidden data-copy="key" data-copied=(page.t("form.copied")) { (page.t("form.copy")) }
            a .button href=(back) { (page.t("keys.kept")) }
        }
        p { (page.t("keys.ends")) " " (page.until(made.expires_at)) }
        p { (page.t("keys.use")) " " a href="/openapi.json" { "openapi.json" } }
        pre { code { "curl -H \"Authorization: Bearer $FLOWAUTH_KEY\" https://…/tokens/servers" } }
    };
    page.show(page.t("keys.made"), body)
}

async fn ask_remove(page: Page, Id(id): Id<i64>) -> Answer {
    let keys = keys::of_user(&mut *page.app.store.read().await?, page.user()?.id).await?;
    let key = keys.iter().find(|key| key.id == id).ok_or_else(missing)?;
    let body = html! {
        p { (page.t("keys.remove-about")) }
        div .actions {
            (page.button(&format!("/account/keys/{id}/remove"), "", "danger", page.t("keys.remove")))
            a href="/account/keys" { (page.t("form.cancel")) }
        }
    };
    page.show(&page.f("keys.remove-title", &[("name", &key.name)]), body)
}

async fn remove(page: Page, Id(id): Id<i64>) -> Answer {
    acts::remove(&page.app, &page.caller.actor, page.user()?.id, id).await?;
    page.done("key-removed", "/account/keys")
}

/// A key in a list; `at` is where it is ended.
pub(super) fn row(page: &Page, key: &Key, at: &str) -> Markup {
    html! {
        div {
            b { (key.name) }
            @if let Some(may) = said(page, key.may) { " " span .badge { (may) } }
            @if key.expires_at <= now() { " " span .badge.bad { (page.t("keys.ended")) } }
        }
        div { (page.t("keys.ends")) " " (page.until(key.expires_at)) }
        div {
            @if let Some(used) = key.used_at { (page.t("keys.used")) " " (page.until(used)) }
            @else { (page.t("keys.unused")) }
        }
        div { a href={ (at) "/" (key.id) "/remove" } aria-label={ (page.t("keys.remove")) ": " (key.name) } { (page.t("keys.remove")) } }
    }
}
