//! Where one begins: one's servers, and, for an administrator, what is still to be done before anybody gets a token.

use maud::{Markup, html};

use super::Page;
use crate::caller::Access::User;
use crate::routes::{Answer, Table};
use crate::store::roles::{self, Which};
use crate::store::{now, servers, tokens, users};

pub fn enter(table: Table) -> Table {
    table.page("/", User, home)
}

async fn home(page: Page) -> Answer {
    let user = page.user()?;
    let mut db = page.app.store.read().await?;
    let mut mine = Vec::new();
    for server in servers::of_user(&mut db, user.id).await? {
        let tokens = tokens::of_user(&mut db, user.id, server.id).await?;
        let live = tokens.iter().filter(|token| token.revoked_at.is_none() && token.made.expires_at > now()).count();
        mine.push((server, live));
    }
    let steps = match user.is_admin {
        true => {
            let (servers, roles) = (servers::all(&mut db).await?, roles::some(&mut db, Which::All).await?);
            let has_members = roles.iter().any(|role| !role.wanted.members.is_empty());
            steps(&page, [!servers.is_empty(), !roles.is_empty(), users::all(&mut db).await?.len() > 1, has_members])
        }
        false => html! {},
    };
    let body = html! {
        (steps)
        @if mine.is_empty() {
            p .empty { @if user.is_admin { (page.t("home.empty-admin")) } @else { (page.t("home.empty")) } }
        } @else {
            p { (page.t("home.about")) }
            ul .cards {
                @for (server, live) in &mine {
                    li {
                        h2 { a href={ "/my/servers/" (server.id) } { (server.wanted.name) } }
                        p { (page.n("home.live", *live)) }
                    }
                }
            }
        }
    };
    page.show(page.t("home.title"), body)
}

/// What leads from an empty FlowAuth to a user's token. Gone once it is done.
fn steps(page: &Page, done: [bool; 4]) -> Markup {
    let steps = [
        ("/manage/servers/new", page.t("steps.server"), page.t("steps.server-why")),
        ("/manage/roles/new", page.t("steps.role"), page.t("steps.role-why")),
        ("/manage/users/new", page.t("steps.user"), page.t("steps.user-why")),
        ("/manage/roles", page.t("steps.member"), page.t("steps.member-why")),
    ];
    let next = done.iter().position(|done| !done);
    html! {
        @if let Some(next) = next {
            section .steps aria-labelledby="steps" {
                h2 #steps { (page.t("steps.title")) }
                ol {
                    @for (at, (path, what, why)) in steps.iter().enumerate() {
                        li .next[at == next] {
                            @if done[at] { (what) " " span .badge.good { (page.t("steps.done")) } }
                            @else if at == next { a href=(path) { (what) } p { (why) } }
                            @else { (what) p { (why) } }
                        }
                    }
                }
                p { (page.t("steps.last")) }
            }
        }
    }
}
