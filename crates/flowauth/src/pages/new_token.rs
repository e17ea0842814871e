//! A new token: its roles with what each allows and until when, parts of them, and how long it lives; explained before it is sent.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};
use web::Error;

use super::scopes::{Leaf, is_below, tree};
use super::token::{mine, minutes};
use super::{Form, Input, Page, Wrongs};
use crate::acts::missing;
use crate::caller::Access::User;
use crate::mint::{Ask, latest_end};
use crate::routes::body::Id;
use crate::routes::{Answer, Table};
use crate::store::now;
use crate::store::roles::{self, Role};
use crate::store::servers::Server;

pub fn enter(table: Table) -> Table {
    table.page("/my/servers/{id}/new", User, ask).form("/my/servers/{id}/new", User, mint)
}

/// A role that may be chosen, with the scopes that a token would have of it.
struct Choice {
    role: Role,
    scopes: BTreeSet<String>,
}

async fn choices(page: &Page, id: i64) -> Result<(Server, Vec<Choice>), Error> {
    let (server, roles, _) = mine(page, id).await?;
    if roles.is_empty() {
        return Err(missing());
    }
    let mut db = page.app.store.read().await?;
    let mut choices = Vec::new();
    for role in roles {
        let scopes = roles::scope_names(&mut db, role.id).await?;
        choices.push(Choice { role, scopes });
    }
    Ok((server, choices))
}

async fn ask(page: Page, Id(id): Id<i64>) -> Answer {
    let (server, choices) = choices(&page, id).await?;
    new_token(&page, &Wrongs::default(), &server, &choices, None)
}

/// The first two parts of each scope's name: what may be left out of a token.
fn parts(scopes: &BTreeSet<String>) -> BTreeMap<String, usize> {
    let mut parts = BTreeMap::new();
    for scope in scopes {
        let part = scope.split(':').take(2).collect::<Vec<_>>().join(":");
        *parts.entry(part).or_insert(0) += 1;
    }
    parts
}

fn new_token(page: &Page, wrongs: &Wrongs, server: &Server, choices: &[Choice], form: Option<&Form>) -> Answer {
    let chosen = form.map(|form| form.numbers("role")).unwrap_or_default();
    let only_one = choices.len() == 1 && form.is_none();
    let boxes = html! {
        @for choice in choices {
            @let is_chosen = only_one || chosen.contains(&choice.role.id);
            (role(page, server, choice, is_chosen, form))
        }
    };
    let lifetime = form.and_then(|form| minutes(form, "lifetime_minutes").ok().flatten());
    let body = html! {
        form method="post" action={ "/my/servers/" (server.id) "/new" } {
            (page.hidden())
            (page.input(wrongs, &Input {
                id: "name", label: page.t("token.name"), hint: page.t("token.name-hint"),
                value: form.map_or("", |form| form.text("name")), ..Input::default()
            }))
            (page.group(wrongs, "roles", page.t("token.roles"), page.t("token.roles-hint"), boxes))
            (page.lifetime(wrongs, "lifetime_minutes", page.t("token.lifetime"), page.t("token.lifetime-hint"), lifetime))
            div .actions {
                button .main { (page.t("token.make")) }
                a href={ "/my/servers/" (server.id) } { (page.t("form.cancel")) }
            }
        }
    };
    page.show_with(&page.f("token.title", &[("server", &server.wanted.name)]), wrongs, body)
}

fn role(page: &Page, server: &Server, choice: &Choice, is_chosen: bool, form: Option<&Form>) -> Markup {
    let Choice { role, scopes } = choice;
    let (id, field) = (format!("role-{}", role.id), format!("part-{}", role.id));
    let limits = [&server.wanted].map(|server| (server.longest_minutes, server.latest_expiry));
    let end = latest_end(now(), limits.into_iter().chain([(role.wanted.longest_minutes, role.wanted.latest_expiry)]));
    let is_over = end <= now();
    let why = match (is_over, scopes.is_empty()) {
        (true, _) => page.t("token.role-over").to_owned(),
        (false, true) => page.t("token.role-empty").to_owned(),
        (false, false) => String::new(),
    };
    let given: Option<BTreeSet<&str>> = form.filter(|_| is_chosen).map(|form| form.all(&field).collect());
    let leaves: Vec<Leaf> = parts(scopes)
        .into_iter()
        .map(|(part, count)| Leaf {
            ticked: given.as_ref().is_none_or(|given| given.contains(part.as_str())),
            value: part.clone(),
            note: if count > 1 { format!("({count})") } else { String::new() },
            name: part,
        })
        .collect();
    let days = (role.wanted.days.0.as_deref().unwrap_or("…"), role.wanted.days.1.as_deref().unwrap_or("…"));
    html! {
        div .choice {
            div .tick {
                input #(id) type="checkbox" name="role" value=(role.id) checked[is_chosen && why.is_empty()] disabled[!why.is_empty()]
                    aria-describedby={ (id) "-about" };
                label for=(id) { (role.wanted.name) }
                div .hint id={ (id) "-about" } {
                    @if !why.is_empty() { span .badge.bad { (why) } " " }
                    @else { (page.t("token.at-most")) " " (page.until(end)) ". " }
                    (page.n("scopes.count", scopes.len())) ". "
                    @if role.wanted.days != (None, None) { (page.f("token.days", &[("first", days.0), ("last", days.1)])) }
                }
            }
            @if why.is_empty() {
                details .part {
                    summary { (page.t("token.part")) }
                    p .hint { (page.t("token.part-hint")) }
                    (tree(page, &field, &leaves, false))
                }
            }
        }
    }
}

async fn mint(page: Page, Id(id): Id<i64>, form: Form) -> Answer {
    let (server, choices) = choices(&page, id).await?;
    let mut wrongs = Wrongs::default();
    let Some(name) = form.some("name") else {
        wrongs.add("name", page.t("token.name-missing"));
        return new_token(&page, &wrongs, &server, &choices, Some(&form));
    };
    let Ok(minutes) = minutes(&form, "lifetime_minutes") else {
        wrongs.add("lifetime_minutes", page.t("form.number"));
        return new_token(&page, &wrongs, &server, &choices, Some(&form));
    };
    let asked = form.numbers("role");
    let chosen = choices.iter().filter(|choice| asked.contains(&choice.role.id));
    let roles = chosen.map(|Choice { role, scopes }| {
        let parts: Vec<&str> = form.all(&format!("part-{}", role.id)).collect();
        let only: BTreeSet<String> =
            scopes.iter().filter(|scope| parts.iter().any(|part| is_below(scope, part))).cloned().collect();
        (role.wanted.name.clone(), (only != *scopes).then_some(only))
    });
    let ask = Ask { name: name.to_owned(), roles: roles.collect(), minutes };
    match page.app.mint(&page.caller.actor, page.user()?, id, &ask).await {
        Ok(minted) => page.done("token-made", &format!("/my/tokens/{}", minted.id)),
        Err(error) => new_token(&page, &page.wrongs(error)?.named(&[("", "roles")]), &server, &choices, Some(&form)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_a_unit_and_a_kind() {
        let scopes = ["run", "admin3:flows:flows", "admin3:flows:daily_location", "admin3:x"].map(str::to_owned).into();
        let parts: Vec<(String, usize)> = parts(&scopes).into_iter().collect();
        let expected = [("admin3:flows", 2), ("admin3:x", 1), ("run", 1)].map(|(part, count)| (part.to_owned(), count));
        assert_eq!(parts, expected);
    }
}
