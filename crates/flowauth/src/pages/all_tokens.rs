//! Everybody's tokens that live, for administrators; never a token itself.

use maud::html;

use super::Page;
use crate::acts::missing;
use crate::caller::Access::Admin;
use crate::routes::body::Id;
use crate::routes::{Answer, Table};
use crate::store::tokens;

/// Tokens on one page.
const MOST: i64 = 200;

pub fn enter(table: Table) -> Table {
    table.page("/manage/tokens", Admin, list).page("/manage/tokens/{id}/revoke", Admin, ask_revoke).form(
        "/manage/tokens/{id}/revoke",
        Admin,
        revoke,
    )
}

async fn list(page: Page) -> Answer {
    let tokens = tokens::live(&mut *page.app.store.read().await?, MOST).await?;
    let body = html! {
        p { (page.t("all-tokens.about")) }
        @if tokens.is_empty() { p .empty { (page.t("all-tokens.empty")) } }
        @if tokens.len() >= usize::try_from(MOST).unwrap_or(usize::MAX) { p .note { (page.n("all-tokens.first", tokens.len())) } }
        ul .rows data-filter=(page.t("all-tokens.search")) {
            @for token in &tokens {
                li {
                    div { b { (token.made.name) } div .hint { (page.f("all-tokens.whose", &[("user", &token.made.user_name), ("server", &token.made.server_name)])) } }
                    div { (page.t("tokens.ends")) " " (page.until(token.made.expires_at)) }
                    div { a href={ "/manage/tokens/" (token.id) "/revoke" } aria-label={ (page.t("tokens.revoke")) ": " (token.made.name) ", " (token.made.user_name) } { (page.t("tokens.revoke")) } }
                }
            }
        }
    };
    page.show(page.t("all-tokens.title"), body)
}

async fn ask_revoke(page: Page, Id(id): Id<i64>) -> Answer {
    let token = tokens::find(&mut *page.app.store.read().await?, id).await?.ok_or_else(missing)?;
    let made = &token.made;
    let body = html! {
        p { (page.f("all-tokens.whose", &[("user", &made.user_name), ("server", &made.server_name)])) }
        p { (page.t("tokens.revoke-about")) }
        div .actions {
            (page.button(&format!("/manage/tokens/{id}/revoke"), "", "danger", page.t("tokens.revoke")))
            a href="/manage/tokens" { (page.t("form.cancel")) }
        }
    };
    page.show(&page.f("tokens.revoke-title", &[("name", &made.name)]), body)
}

async fn revoke(page: Page, Id(id): Id<i64>) -> Answer {
    page.app.revoke_any(&page.caller.actor, id).await?;
    page.done("token-revoked", "/manage/tokens")
}
