//! The keys of a user, for administrators: who has which, and those that they make for a machine.

use maud::{Markup, html};

use super::keys::{choice, row, show_key, wanted};
use super::{Form, Input, Page, Wrongs};
use crate::acts::keys::{self as acts, MOST_DAYS, USUAL_DAYS};
use crate::acts::missing;
use crate::caller::Access::Admin;
use crate::routes::body::Id;
use crate::routes::{Answer, Table};
use crate::store::keys::Key;
use crate::store::users::User;
use crate::store::{keys, users};

pub fn enter(table: Table) -> Table {
    table
        .page("/manage/users/{id}/keys", Admin, show)
        .form("/manage/users/{id}/keys", Admin, add)
        .page("/manage/users/{id}/keys/{key}/remove", Admin, ask_remove)
        .form("/manage/users/{id}/keys/{key}/remove", Admin, remove)
}

async fn the(page: &Page, id: i64) -> Result<(User, Vec<Key>), web::Error> {
    let mut db = page.app.store.read().await?;
    let user = users::find(&mut db, id).await?.ok_or_else(missing)?;
    let keys = keys::of_user(&mut db, id).await?;
    Ok((user, keys))
}

async fn show(page: Page, Id(id): Id<i64>) -> Answer {
    list(&page, id, &Wrongs::default(), &Form::default()).await
}

async fn list(page: &Page, id: i64, wrongs: &Wrongs, form: &Form) -> Answer {
    let (user, keys) = the(page, id).await?;
    let at = format!("/manage/users/{id}/keys");
    let body = html! {
        p { @if user.is_machine { (page.t("machines.about")) } @else { (page.t("machines.of-person")) } }
        @if keys.is_empty() { p .empty { (page.t("machines.empty")) } }
        ul .rows { @for key in &keys { li { (row(page, key, &at)) } } }
        @if user.is_machine { (ask_new(page, &user, wrongs, form)) }
        p { a href={ "/manage/users/" (id) } { (page.f("users.link-back", &[("user", &user.name)])) } }
    };
    page.show_with(&page.f("machines.title", &[("user", &user.name)]), wrongs, body)
}

fn ask_new(page: &Page, user: &User, wrongs: &Wrongs, form: &Form) -> Markup {
    let usual = USUAL_DAYS.to_string();
    html! {
        h2 { (page.t("keys.new")) }
        form method="post" action={ "/manage/users/" (user.id) "/keys" } .card {
            (page.hidden())
            (page.input(wrongs, &Input {
                id: "name", label: page.t("keys.name"), hint: page.t("keys.name-hint"), value: form.text("name"), ..Input::default()
            }))
            (page.input(wrongs, &Input {
                id: "days", label: page.t("keys.days"), hint: &page.f("keys.days-hint", &[("days", &MOST_DAYS.to_string())]),
                value: form.some("days").unwrap_or(&usual), inputmode: "numeric", short: true, ..Input::default()
            }))
            @if user.is_admin { (choice(page, wrongs, form)) }
            button .main { (page.t("keys.make")) }
        }
    }
}

async fn add(page: Page, Id(id): Id<i64>, form: Form) -> Answer {
    let machine = acts::machine(&page.app, id).await?;
    match acts::add(&page.app, &page.caller.actor, &machine, &wanted(&form)).await {
        Ok(made) => show_key(&page, &made, &format!("/manage/users/{id}/keys")),
        Err(error) => list(&page, id, &page.wrongs(error)?, &form).await,
    }
}

async fn ask_remove(page: Page, Id((user, id)): Id<(i64, i64)>) -> Answer {
    let (_, keys) = the(&page, user).await?;
    let key = keys.iter().find(|key| key.id == id).ok_or_else(missing)?;
    let body = html! {
        p { (page.t("keys.remove-about")) }
        div .actions {
            (page.button(&format!("/manage/users/{user}/keys/{id}/remove"), "", "danger", page.t("keys.remove")))
            a href={ "/manage/users/" (user) "/keys" } { (page.t("form.cancel")) }
        }
    };
    page.show(&page.f("keys.remove-title", &[("name", &key.name)]), body)
}

async fn remove(page: Page, Id((user, id)): Id<(i64, i64)>) -> Answer {
    acts::remove(&page.app, &page.caller.actor, user, id).await?;
    page.done("key-removed", &format!("/manage/users/{user}/keys"))
}
