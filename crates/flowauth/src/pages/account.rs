//! One's account: the password, whether there is a second factor, keys, and where else one is signed in.

use maud::html;

use super::signin::{new_password, strength, typed_twice};
use super::{Form, Input, Page, Wrongs};
use crate::acts::account as acts;
use crate::caller::Access::{Account, SignedIn};
use crate::caller::must_set_up;
use crate::routes::{Answer, Table};
use crate::store::{keys, sessions};

/// Sessions that are named: a program that never signs out has thousands.
const SHOWN: usize = 20;

pub fn enter(table: Table) -> Table {
    table
        .page("/account", Account, show)
        .page("/account/password", SignedIn, show_password)
        .form("/account/password", SignedIn, set_password)
        .form("/account/sessions/end", Account, end_others)
}

async fn show(page: Page) -> Answer {
    let user = page.user()?;
    let mut db = page.app.store.read().await?;
    let keys = keys::of_user(&mut db, user.id).await?.len();
    let sessions = sessions::of_user(&mut db, user.id, SHOWN + 1).await?;
    let body = html! {
        dl .facts {
            dt { (page.t("account.name")) } dd { (user.name) }
            dt { (page.t("account.kind")) }
            dd { @if user.is_admin { (page.t("account.admin")) } @else { (page.t("account.user")) } }
        }
        ul .cards {
            li {
                h2 { a href="/account/password" { (page.t("password.title")) } }
                p { (page.t("account.password-about")) }
            }
            li {
                h2 { a href="/account/two-factor" { (page.t("factor.title")) } }
                p {
                    @if user.has_factor { span .badge.good { (page.t("factor.on")) } } @else { span .badge { (page.t("factor.off")) } }
                    " " (page.t("account.factor-about"))
                }
            }
            li {
                h2 { a href="/account/keys" { (page.t("keys.title")) } }
                p { (page.n("account.keys", keys)) }
            }
        }
        h2 { (page.t("sessions.title")) }
        p { (page.t("sessions.about")) }
        ul .rows {
            @for session in sessions.iter().take(SHOWN) {
                li {
                    div {
                        b { (session.address) }
                        @if Some(session.id.as_str()) == page.caller.session() { " " span .badge.good { (page.t("sessions.this")) } }
                    }
                    div { (page.t("sessions.since")) " " (page.time(session.created_at)) }
                    div { (page.t("sessions.seen")) " " (page.until(session.seen_at)) }
                }
            }
        }
        @if sessions.len() > SHOWN { p { (page.t("sessions.further")) } }
        @if sessions.len() > 1 { (page.button("/account/sessions/end", "", "", page.t("sessions.end"))) }
    };
    page.show(page.t("account.title"), body)
}

async fn show_password(page: Page) -> Answer {
    password(&page, &Wrongs::default())
}

fn password(page: &Page, wrongs: &Wrongs) -> Answer {
    let user = page.user()?;
    let body = html! {
        p { (page.t("password.about")) }
        form method="post" action="/account/password" .card {
            (page.hidden())
            input type="hidden" name="username" autocomplete="username" value=(user.name);
            (page.input(wrongs, &Input {
                id: "oldPassword", label: page.t("password.old"), kind: "password", autocomplete: "current-password", ..Input::default()
            }))
            (new_password(page, wrongs, "/account/password"))
            div .actions {
                button .main { (page.t("form.save")) }
                @if !must_set_up(user) { a href="/account" { (page.t("form.cancel")) } }
            }
        }
    };
    page.show_with(page.t("password.title"), wrongs, body)
}

async fn set_password(page: Page, form: Form) -> Answer {
    if form.ticked("measure") {
        return strength(&page, form.text("measure"), &page.user()?.name);
    }
    let mut wrongs = Wrongs::default();
    let old = form.text("oldPassword");
    if old.is_empty() {
        wrongs.add("oldPassword", page.t("password.old-missing"));
    }
    let new = typed_twice(&page, &form, &mut wrongs);
    if wrongs.any() {
        return password(&page, &wrongs);
    }
    match acts::password(&page.app, &page.caller, old, new).await {
        Ok(()) => page.done("password", "/account"),
        Err(error) => {
            let names = [("password", "oldPassword"), ("newPassword", "newPasswordA"), ("", "oldPassword")];
            password(&page, &page.wrongs(error)?.named(&names))
        }
    }
}

async fn end_others(page: Page) -> Answer {
    acts::end_others(&page.app, &page.caller).await?;
    page.done("sessions", "/account")
}
