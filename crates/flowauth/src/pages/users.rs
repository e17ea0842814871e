//! Users, looked after by administrators. Nobody types another's password: a link lets its user choose one.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::form::HAD;
use super::members::{PAGE, asked, finder, neighbours};
use super::{Form, Input, Page, Wrongs};
use crate::acts::missing;
use crate::acts::users::{self as acts, Changes, Roles};
use crate::caller::Access::Admin;
use crate::routes::body::Id;
use crate::routes::{Answer, Table};
use crate::store::roles::{self, Which};
use crate::store::users::{self, User, Wanted};
use crate::store::{identities, invitations, servers};

pub fn enter(table: Table) -> Table {
    table
        .page("/manage/users", Admin, list)
        .page("/manage/users/new", Admin, ask_new)
        .form("/manage/users/new", Admin, add)
        .page("/manage/users/{id}", Admin, show)
        .form("/manage/users/{id}", Admin, change)
        .form("/manage/users/{id}/invite", Admin, invite)
        .form("/manage/users/{id}/state", Admin, set_state)
        .page("/manage/users/{id}/remove", Admin, ask_remove)
        .form("/manage/users/{id}/remove", Admin, remove)
}

fn badges(page: &Page, user: &User) -> Markup {
    html! {
        @if user.is_machine { " " span .badge { (page.t("users.machine")) } }
        @if user.is_admin { " " span .badge.admin { (page.t("users.admin")) } }
        @if user.disabled_at.is_some() { " " span .badge.bad { (page.t("users.disabled")) } }
        @if user.has_factor { " " span .badge.good { (page.t("users.factor")) } }
        @if user.passkeys > 0 { " " span .badge.good { (page.n("users.passkeys", usize::try_from(user.passkeys).unwrap_or(0))) } }
        @else if user.needs_factor { " " span .badge { (page.t("users.factor-awaited")) } }
    }
}

async fn list(page: Page) -> Answer {
    const HERE: &str = "/manage/users";
    let mut db = page.app.store.read().await?;
    let users = users::all(&mut db).await?;
    let roles = roles::some(&mut db, Which::All).await?;
    let (find, from) = asked(&page);
    let found: Vec<&User> = users.iter().filter(|user| user.name.to_lowercase().contains(&find)).collect();
    let body = html! {
        p { (page.t("users.about")) }
        div .actions { a #new .button.main href="/manage/users/new" { (page.t("users.new")) } }
        @if users.len() == 1 { p .empty { (page.t("users.empty")) } }
        @if users.len() > PAGE { (finder(&page, HERE, &find)) }
        @if found.is_empty() { p .empty { (page.t("roles.nobody")) } }
        // A list that is there whole is searched while one types.
        ul .rows data-filter=[(users.len() <= PAGE).then(|| page.t("users.search"))] {
            @for user in found.iter().skip(from).take(PAGE) {
                @let names: Vec<&str> = roles.iter().filter(|role| role.wanted.members.contains(&user.id)).map(|role| role.wanted.name.as_str()).collect();
                li {
                    div { a href={ "/manage/users/" (user.id) } { (user.name) } (badges(&page, user)) }
                    div { @if names.is_empty() { span .hint { (page.t("users.no-roles")) } } @else { (names.join(", ")) } }
                }
            }
        }
        (neighbours(&page, HERE, &find, from, found.len()))
    };
    page.show(page.t("users.title"), body)
}

/// The boxes of all roles, by their servers; `had` are those that were theirs when the page was made.
async fn role_boxes(page: &Page, had: &BTreeSet<i64>, is_member: impl Fn(i64) -> bool) -> Result<Markup, web::Error> {
    let mut db = page.app.store.read().await?;
    let (servers, roles) = (servers::all(&mut db).await?, roles::some(&mut db, Which::All).await?);
    Ok(html! {
        (page.had(had))
        @if roles.is_empty() { p .hint { (page.t("users.roles-empty")) } }
        @for server in &servers {
            @let own: Vec<_> = roles.iter().filter(|role| role.server == server.id).collect();
            @if !own.is_empty() {
                p .under { (server.wanted.name) }
                @for role in own {
                    (page.tick(&format!("role-{}", role.id), "role", &role.id.to_string(), is_member(role.id), &role.wanted.name, ""))
                }
            }
        }
    })
}

fn rights(page: &Page, is_admin: bool, needs_factor: Option<bool>) -> Markup {
    html! {
        (page.tick("is_admin", "is_admin", "yes", is_admin, page.t("users.is-admin"), page.t("users.is-admin-hint")))
        @if let Some(needs) = needs_factor {
            (page.tick("needs_factor", "needs_factor", "yes", needs, page.t("users.needs-factor"), page.t("users.needs-factor-hint")))
        }
    }
}

async fn ask_new(page: Page) -> Answer {
    new_user(&page, &Wrongs::default(), &Form::default()).await
}

async fn new_user(page: &Page, wrongs: &Wrongs, form: &Form) -> Answer {
    let chosen = form.numbers("role");
    let roles = role_boxes(page, &BTreeSet::new(), |id| chosen.contains(&id)).await?;
    let body = html! {
        p { (page.t("users.new-about")) }
        form method="post" action="/manage/users/new" {
            (page.hidden())
            (page.input(wrongs, &Input {
                id: "username", label: page.t("users.name"), hint: page.t("users.name-hint"), value: form.text("username"), ..Input::default()
            }))
            (page.group(wrongs, "roles", page.t("users.roles"), page.t("users.roles-hint"), roles))
            (page.group(wrongs, "rights", page.t("users.rights"), "", html! {
                (rights(page, form.ticked("is_admin"), Some(form.ticked("needs_factor"))))
                (page.tick("is_machine", "is_machine", "yes", form.ticked("is_machine"), page.t("users.is-machine"), page.t("users.is-machine-hint")))
            }))
            div .actions { button .main { (page.t("users.make")) } a href="/manage/users" { (page.t("form.cancel")) } }
        }
    };
    page.show_with(page.t("users.new"), wrongs, body)
}

async fn add(page: Page, form: Form) -> Answer {
    let wanted = Wanted {
        name: form.text("username").to_owned(),
        is_admin: form.ticked("is_admin"),
        needs_factor: form.ticked("needs_factor"),
        is_disabled: false,
        is_machine: form.ticked("is_machine"),
    };
    let is_machine = wanted.is_machine;
    match acts::add(&page.app, &page.caller.actor, wanted, None, form.numbers("role")).await {
        Ok(id) if is_machine => page.done("machine-added", &format!("/manage/users/{id}/keys")),
        Ok(id) => show_link(&page, id).await,
        Err(error) => new_user(&page, &page.wrongs(error)?, &form).await,
    }
}

async fn show_link(page: &Page, id: i64) -> Answer {
    let (key, expires_at) = match acts::invite(&page.app, &page.caller.actor, id).await {
        Ok(made) => made,
        Err(error) => return edit(page, &page.wrongs(error)?, id, None).await,
    };
    let user = users::find(&mut *page.app.store.read().await?, id).await?.ok_or_else(missing)?;
    let body = html! {
        p .note { (page.f("users.link-about", &[("user", &user.name)])) }
        label for="link" { (page.t("users.link")) }
        textarea #link .token readonly rows="3" spellcheck="false" { (page.origin()) "/invitation/" (key) }
        div .actions { button type="button" .main hidden data-copy="link" data-copied=(page.t("form.copied")) { (page.t("form.copy")) } }
        p { (page.t("users.link-ends")) " " (page.until(expires_at)) }
        p { a href={ "/manage/users/" (id) } { (page.f("users.link-back", &[("user", &user.name)])) } }
    };
    page.show(&page.f("users.link-title", &[("user", &user.name)]), body)
}

async fn invite(page: Page, Id(id): Id<i64>) -> Answer {
    show_link(&page, id).await
}

async fn show(page: Page, Id(id): Id<i64>) -> Answer {
    edit(&page, &Wrongs::default(), id, None).await
}

async fn edit(page: &Page, wrongs: &Wrongs, id: i64, form: Option<&Form>) -> Answer {
    let (user, mine, has_password, invited, known) = {
        let mut db = page.app.store.read().await?;
        let user = users::find(&mut db, id).await?.ok_or_else(missing)?;
        let mine = roles::some(&mut db, Which::OfUser(id)).await?;
        let (password, invited) = (users::password(&mut db, id).await?, invitations::until(&mut db, id).await?);
        (user, mine, password.is_some(), invited, identities::of(&mut db, id).await?)
    };
    let mine = || mine.iter().map(|role| role.id).collect::<BTreeSet<i64>>();
    let (had, has) = form.map_or_else(|| (mine(), mine()), |form| (form.numbers(HAD), form.numbers("role")));
    let roles = role_boxes(page, &had, |role| has.contains(&role)).await?;
    let (is_admin, needs_factor) = match form {
        Some(form) => (form.ticked("is_admin"), form.ticked("needs_factor")),
        None => (user.is_admin, user.needs_factor),
    };
    let at = format!("/manage/users/{id}");
    let body = html! {
        @if user.disabled_at.is_some() { p .note { (page.t("users.is-disabled")) } }
        @if !has_password && invited.is_none() && !user.is_machine { p .note { (page.t("users.no-password")) } }
        @if let Some(until) = invited { p .note { (page.t("users.invited")) " " (page.until(until)) } }
        form method="post" action=(at) {
            (page.hidden())
            (page.input(wrongs, &Input {
                id: "username", label: page.t("users.name"), hint: page.t("users.rename-hint"),
                value: form.map_or(&user.name, |form| form.text("username")), ..Input::default()
            }))
            (page.group(wrongs, "roles", page.t("users.roles"), page.t("users.roles-hint"), roles))
            (page.group(wrongs, "rights", page.t("users.rights"), "", html! {
                (rights(page, is_admin, (!user.is_machine).then_some(needs_factor)))
                @if user.has_factor {
                    (page.tick("remove_factor", "remove_factor", "yes", false, page.t("users.remove-factor"), page.t("users.remove-factor-hint")))
                }
                @if !known.is_empty() {
                    (page.tick("remove_identities", "remove_identities", "yes", false, page.t("users.remove-identities"), page.t("users.remove-identities-hint")))
                }
            }))
            div .actions { button .main { (page.t("form.save")) } a href="/manage/users" { (page.t("form.cancel")) } }
        }
        @if !user.is_machine {
            h2 { (page.t("users.password")) }
            p { (page.t("users.password-about")) }
            (page.button(&format!("{at}/invite"), "", "", page.t("users.make-link")))
        }
        @if !known.is_empty() {
            h2 { (page.t("users.identities")) }
            ul .rows {
                @for one in &known { li { div { (one.issuer) } div { code { (one.subject) } } div { (page.until(one.created_at)) } } }
            }
        }
        h2 { (page.t("keys.title")) }
        p { @if user.is_machine { (page.t("machines.about")) } @else { (page.t("machines.of-person")) } }
        p { a .button href={ (at) "/keys" } { (page.t("machines.show")) } }
        h2 { (page.t("users.end")) }
        p { (page.t("users.end-about")) }
        div .actions {
            form method="post" action={ (at) "/state" } .inline {
                (page.hidden())
                @if user.disabled_at.is_some() { button name="state" value="enabled" { (page.t("users.enable")) } }
                @else { button name="state" value="disabled" { (page.t("users.disable")) } }
            }
            a .button.danger href={ (at) "/remove" } { (page.t("users.remove")) }
        }
    };
    page.show_with(&page.f("users.one", &[("name", &user.name)]), wrongs, body)
}

async fn change(page: Page, Id(id): Id<i64>, form: Form) -> Answer {
    let changes = Changes {
        name: Some(form.text("username").to_owned()),
        is_admin: Some(form.ticked("is_admin")),
        needs_factor: Some(form.ticked("needs_factor")),
        remove_factor: form.ticked("remove_factor"),
        remove_identities: form.ticked("remove_identities"),
        roles: Some(Roles::But(form.moved("role"))),
        ..Changes::default()
    };
    match acts::change(&page.app, &page.caller, id, changes).await {
        Ok(()) => page.done("saved", "/manage/users"),
        Err(error) => edit(&page, &page.wrongs(error)?, id, Some(&form)).await,
    }
}

async fn set_state(page: Page, Id(id): Id<i64>, form: Form) -> Answer {
    let is_disabled = form.text("state") == "disabled";
    let changes = Changes { is_disabled: Some(is_disabled), ..Changes::default() };
    match acts::change(&page.app, &page.caller, id, changes).await {
        Ok(()) if is_disabled => page.done("user-disabled", &format!("/manage/users/{id}")),
        Ok(()) => page.done("user-enabled", &format!("/manage/users/{id}")),
        Err(error) => edit(&page, &page.wrongs(error)?, id, None).await,
    }
}

async fn ask_remove(page: Page, Id(id): Id<i64>) -> Answer {
    removal(&page, &Wrongs::default(), id).await
}

async fn removal(page: &Page, wrongs: &Wrongs, id: i64) -> Answer {
    let user = users::find(&mut *page.app.store.read().await?, id).await?.ok_or_else(missing)?;
    let body = html! {
        p { (page.t("users.remove-about")) }
        div .actions {
            (page.button(&format!("/manage/users/{id}/remove"), "", "danger", page.t("users.remove")))
            a href={ "/manage/users/" (id) } { (page.t("form.cancel")) }
        }
    };
    page.show_with(&page.f("users.remove-title", &[("name", &user.name)]), wrongs, body)
}

async fn remove(page: Page, Id(id): Id<i64>) -> Answer {
    match acts::remove(&page.app, &page.caller.actor, id).await {
        Ok(()) => page.done("user-removed", "/manage/users"),
        Err(error) => removal(&page, &page.wrongs(error)?, id).await,
    }
}
