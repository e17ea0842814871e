//! A role's members, where there are too many users for the role's own page: found by name, a page at a time.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::{Form, Page, Wrongs, quoted};
use crate::acts::{missing, roles as acts};
use crate::caller::Access::Admin;
use crate::routes::body::Id;
use crate::routes::{Answer, Table};
use crate::store::roles::{self, Wanted};
use crate::store::users::{self, User};

/// Users that the role's own page has boxes for. With all scopes of a real FlowAPI it has nearly 100 kB then.
pub const FEW: usize = 15;

/// Users on a page.
pub const PAGE: usize = 50;

pub fn enter(table: Table) -> Table {
    table.page("/manage/roles/{id}/members", Admin, show).form("/manage/roles/{id}/members", Admin, change)
}

/// What is looked for, and from where on it is shown.
pub fn asked(page: &Page) -> (String, usize) {
    let find = page.query("find").unwrap_or_default().trim().to_lowercase();
    (find, page.query("from").and_then(|from| from.parse().ok()).unwrap_or(0))
}

/// The address of a page of those whose names have `find` in them.
pub fn part(path: &str, find: &str, from: usize) -> String {
    format!("{path}?find={}&from={from}", quoted(find))
}

/// The field to find users by their names.
pub fn finder(page: &Page, path: &str, find: &str) -> Markup {
    html! {
        form method="get" action=(path) .filter {
            div { label for="find" { (page.t("users.search")) } input #find name="find" value=(find) autocomplete="off"; }
            button { (page.t("audit.find")) }
        }
    }
}

/// Where those before and behind these are.
pub fn neighbours(page: &Page, path: &str, find: &str, from: usize, found: usize) -> Markup {
    html! {
        p .actions {
            @if from > 0 { a .button href=(part(path, find, from.saturating_sub(PAGE))) { (page.t("roles.before")) } }
            @if found > from.saturating_add(PAGE) { a .button href=(part(path, find, from + PAGE)) { (page.t("roles.more")) } }
        }
    }
}

fn at(id: i64) -> String {
    format!("/manage/roles/{id}/members")
}

async fn show(page: Page, Id(id): Id<i64>) -> Answer {
    let (role, users) = {
        let mut db = page.app.store.read().await?;
        (roles::find(&mut db, id).await?.ok_or_else(missing)?, users::all(&mut db).await?)
    };
    let (find, from) = asked(&page);
    let found: Vec<&User> = users.iter().filter(|user| user.name.to_lowercase().contains(&find)).collect();
    let members = &role.wanted.members;
    let shown: BTreeSet<i64> = found.iter().skip(from).take(PAGE).map(|user| user.id).collect();
    let name = &role.wanted.name;
    let body = html! {
        p { (page.n("roles.members", members.len())) }
        (finder(&page, &at(id), &find))
        form method="post" action=(part(&at(id), &find, from)) {
            (page.hidden())
            (page.group(&Wrongs::default(), "users", page.t("roles.who"), page.t("roles.who-hint"), html! {
                (page.had(&(members & &shown)))
                @for user in found.iter().skip(from).take(PAGE) {
                    (page.tick(&format!("m-{}", user.id), "m", &user.id.to_string(), members.contains(&user.id), &user.name, ""))
                }
            }))
            @if found.is_empty() { p .empty { (page.t("roles.nobody")) } }
            div .actions { button .main { (page.t("form.save")) } a href={ "/manage/roles/" (id) } { (page.t("form.cancel")) } }
        }
        (neighbours(&page, &at(id), &find, from, found.len()))
    };
    page.show(&page.f("roles.members-of", &[("name", name)]), body)
}

/// Of those whose boxes were not touched nothing is said, nor of those who were not shown.
async fn change(page: Page, Id(id): Id<i64>, form: Form) -> Answer {
    let wanted = |had: &Wanted| Ok(Wanted { members: form.moved("m").of(&had.members), ..had.clone() });
    acts::change(&page.app, &page.caller.actor, id, wanted).await?;
    let (find, from) = asked(&page);
    page.done("saved", &part(&at(id), &find, from))
}
