//! Roles, looked after by administrators: scopes of a server, limits, and whose it is.

use std::collections::BTreeSet;

use maud::{Markup, html};
use web::Error;

use super::form::HAD;
use super::members::FEW;
use super::scopes::{Leaf, is_below, tree};
use super::servers::{limit_fields, limits, local, said_limits};
use super::token::minutes;
use super::{Form, Input, Page, Wrongs};
use crate::acts::{missing, roles as acts};
use crate::caller::Access::Admin;
use crate::routes::body::Id;
use crate::routes::{Answer, Table};
use crate::store::roles::{self, Role, Wanted, Which};
use crate::store::servers::{self, Server};
use crate::store::users;

/// What the fields of a request are called here.
const NAMES: &[(&str, &str)] = &[("longest_token_life_minutes", "lifetime"), ("latest_token_expiry", "latest")];

pub fn enter(table: Table) -> Table {
    table
        .page("/manage/roles", Admin, list)
        .page("/manage/roles/new", Admin, ask_new)
        .form("/manage/roles/new", Admin, add)
        .page("/manage/roles/{id}", Admin, show)
        .form("/manage/roles/{id}", Admin, change)
        .page("/manage/roles/{id}/revoke", Admin, ask_revoke)
        .form("/manage/roles/{id}/revoke", Admin, revoke)
        .page("/manage/roles/{id}/remove", Admin, ask_remove)
        .form("/manage/roles/{id}/remove", Admin, remove)
}

async fn list(page: Page) -> Answer {
    let mut db = page.app.store.read().await?;
    let (servers, roles) = (servers::all(&mut db).await?, roles::some(&mut db, Which::All).await?);
    let body = html! {
        p { (page.t("roles.about")) }
        @if servers.is_empty() {
            p .empty { (page.t("roles.no-server")) " " a href="/manage/servers/new" { (page.t("servers.new")) } }
        }
        @for server in &servers {
            @let own: Vec<&Role> = roles.iter().filter(|role| role.server == server.id).collect();
            h2 { (server.wanted.name) }
            @if own.is_empty() { p .empty { (page.t("roles.empty")) } }
            ul .rows {
                @for role in own {
                    li {
                        div { a href={ "/manage/roles/" (role.id) } { (role.wanted.name) } }
                        div {
                            (page.n("scopes.count", role.wanted.scopes.len())) ", "
                            @if role.wanted.members.is_empty() { span .badge { (page.t("roles.no-members")) } }
                            @else { (page.n("roles.members", role.wanted.members.len())) }
                        }
                        div { (limits(&page, role.wanted.longest_minutes, role.wanted.latest_expiry)) }
                    }
                }
            }
            p { a .button href={ "/manage/roles/new?server=" (server.id) } { (page.f("roles.new-for", &[("server", &server.wanted.name)])) } }
        }
    };
    page.show(page.t("roles.title"), body)
}

async fn ask_new(page: Page) -> Answer {
    let servers = servers::all(&mut *page.app.store.read().await?).await?;
    let asked: Option<i64> = page.query("server").and_then(|id| id.parse().ok());
    let server = match (asked, &*servers) {
        (Some(id), all) => all.iter().find(|server| server.id == id),
        (None, [one]) => Some(one),
        (None, _) => None,
    };
    let Some(server) = server else { return choose_server(&page, &servers) };
    let limits = &server.wanted;
    let wanted =
        Wanted { latest_expiry: limits.latest_expiry, longest_minutes: limits.longest_minutes, ..Wanted::default() };
    editor(&page, &Wrongs::default(), server, None, &Draft::of(&wanted)).await
}

/// Which server a role is for comes first: its scopes follow from it.
fn choose_server(page: &Page, servers: &[Server]) -> Answer {
    let body = html! {
        @if servers.is_empty() {
            p .empty { (page.t("roles.no-server")) " " a href="/manage/servers/new" { (page.t("servers.new")) } }
        } @else {
            p { (page.t("roles.choose")) }
            ul .cards { @for server in servers { li { h2 { a href={ "/manage/roles/new?server=" (server.id) } { (server.wanted.name) } } } } }
        }
    };
    page.show(page.t("roles.new"), body)
}

/// What stands in the fields of a role.
struct Draft {
    name: String,
    minutes: Option<i64>,
    latest: String,
    days: (String, String),
    scopes: BTreeSet<i64>,
    /// Members when the page was made, and now.
    had: BTreeSet<i64>,
    members: BTreeSet<i64>,
}

impl Draft {
    fn of(wanted: &Wanted) -> Draft {
        let day = |day: &Option<String>| day.clone().unwrap_or_default();
        Draft {
            name: wanted.name.clone(),
            minutes: Some(wanted.longest_minutes),
            latest: local(wanted.latest_expiry),
            days: (day(&wanted.days.0), day(&wanted.days.1)),
            scopes: wanted.scopes.clone(),
            had: wanted.members.clone(),
            members: wanted.members.clone(),
        }
    }

    fn sent(form: &Form, role: Option<&Role>) -> Draft {
        let had = role.filter(|_| is_apart(form)).map(|role| role.wanted.members.clone());
        Draft {
            name: form.text("name").to_owned(),
            minutes: minutes(form, "lifetime").ok().flatten(),
            latest: form.text("latest").to_owned(),
            days: (form.text("first_day").to_owned(), form.text("last_day").to_owned()),
            scopes: form.numbers("s"),
            had: form.numbers(HAD),
            members: had.unwrap_or_else(|| form.numbers("m")),
        }
    }
}

async fn editor(page: &Page, wrongs: &Wrongs, server: &Server, role: Option<&Role>, draft: &Draft) -> Answer {
    let (scopes, users) = {
        let mut db = page.app.store.read().await?;
        (servers::scopes(&mut db, server.id).await?, users::all(&mut db).await?)
    };
    let leaves: Vec<Leaf> = scopes
        .iter()
        .map(|scope| Leaf {
            name: scope.name.clone(),
            value: scope.id.to_string(),
            ticked: draft.scopes.contains(&scope.id),
            note: if scope.is_withdrawn { page.t("scopes.withdrawn").to_owned() } else { String::new() },
        })
        .collect();
    let at = role.map_or("/manage/roles/new".to_owned(), |role| format!("/manage/roles/{}", role.id));
    let day = |id, label, hint, value| Input { id, label, hint, kind: "date", value, short: true, ..Input::default() };
    let body = html! {
        p { (page.f("roles.of-server", &[("server", &server.wanted.name)])) " " (limits(page, server.wanted.longest_minutes, server.wanted.latest_expiry)) "." }
        form method="post" action=(at) {
            // Whoever presses Enter saves, and does not tick a branch.
            button .away tabindex="-1" aria-hidden="true" { (page.t("form.save")) }
            (page.hidden())
            input type="hidden" name="server" value=(server.id);
            (page.input(wrongs, &Input { id: "name", label: page.t("roles.name"), hint: page.t("roles.name-hint"), value: &draft.name, ..Input::default() }))
            (page.group(wrongs, "scopes", page.t("roles.scopes"), page.t("roles.scopes-hint"), tree(page, "s", &leaves, true)))
            (page.group(wrongs, "users", page.t("roles.who"), page.t("roles.who-hint"), html! {
                @if users.len() > FEW {
                    input type="hidden" name="members-apart" value="yes";
                    p { (page.n("roles.members", draft.members.len())) }
                    @if let Some(role) = role { p { a href={ "/manage/roles/" (role.id) "/members" } { (page.t("roles.choose-members")) } } }
                } @else {
                    (page.had(&draft.had))
                    div .many data-filter=(page.t("users.search")) {
                        @for user in &users {
                            (page.tick(&format!("m-{}", user.id), "m", &user.id.to_string(), draft.members.contains(&user.id), &user.name, ""))
                        }
                    }
                }
            }))
            (limit_fields(page, wrongs, "lifetime", draft.minutes, &draft.latest))
            (page.input(wrongs, &day("first_day", page.t("roles.first-day"), page.t("roles.first-day-hint"), draft.days.0.as_str())))
            (page.input(wrongs, &day("last_day", page.t("roles.last-day"), page.t("roles.last-day-hint"), draft.days.1.as_str())))
            div .actions { button .main { (page.t("form.save")) } a href="/manage/roles" { (page.t("form.cancel")) } }
        }
        @if role.is_some() { (ends(page, &at)) }
    };
    let title = match role {
        Some(role) => page.f("roles.one", &[("name", &role.wanted.name)]),
        None => page.f("roles.new-for", &[("server", &server.wanted.name)]),
    };
    page.show_with(&title, wrongs, body)
}

fn ends(page: &Page, at: &str) -> Markup {
    html! {
        h2 { (page.t("roles.end")) }
        p { (page.t("roles.end-about")) }
        div .actions {
            a .button.danger href={ (at) "/revoke" } { (page.t("roles.revoke")) }
            a .button.danger href={ (at) "/remove" } { (page.t("roles.remove")) }
        }
    }
}

/// What a form makes of a role. Without script a branch is ticked whole by its button, and nothing is saved yet.
fn wanted(page: &Page, form: &Form, wrongs: &mut Wrongs) -> Wanted {
    let (longest_minutes, latest_expiry) = said_limits(page, form, "lifetime", wrongs);
    let day = |field| form.some(field).map(str::to_owned);
    let scopes = form.numbers("s");
    if scopes.is_empty() {
        wrongs.add("scopes", page.t("roles.scopes-missing"));
    }
    Wanted {
        name: form.text("name").to_owned(),
        latest_expiry,
        longest_minutes,
        days: (day("first_day"), day("last_day")),
        scopes,
        members: form.numbers("m"),
    }
}

/// Whether members are chosen on a page of their own, of which this form says nothing.
fn is_apart(form: &Form) -> bool {
    form.ticked("members-apart")
}

/// The draft with a branch ticked, if that is what was asked for.
async fn ticked(page: &Page, server: &Server, role: Option<&Role>, form: &Form) -> Result<Option<Draft>, Error> {
    let Some(path) = form.some("tick") else { return Ok(None) };
    let mut draft = Draft::sent(form, role);
    let scopes = servers::scopes(&mut *page.app.store.read().await?, server.id).await?;
    draft.scopes.extend(scopes.iter().filter(|scope| is_below(&scope.name, path)).map(|scope| scope.id));
    Ok(Some(draft))
}

async fn server(page: &Page, id: i64) -> Result<Server, Error> {
    servers::find(&mut *page.app.store.read().await?, id).await?.ok_or_else(missing)
}

async fn add(page: Page, form: Form) -> Answer {
    let Ok(id) = form.text("server").parse() else { return Err(Error::of(http::StatusCode::BAD_REQUEST)) };
    let server = server(&page, id).await?;
    let mut wrongs = Wrongs::default();
    if let Some(draft) = ticked(&page, &server, None, &form).await? {
        return editor(&page, &wrongs, &server, None, &draft).await;
    }
    let wanted = wanted(&page, &form, &mut wrongs);
    if !wrongs.any() {
        match acts::add(&page.app, &page.caller.actor, server.id, wanted).await {
            // There were too many to choose from before it was made.
            Ok(role) if is_apart(&form) => {
                return page.done("role-added", &format!("/manage/roles/{}/members", role.id));
            }
            Ok(_) => return page.done("role-added", "/manage/roles"),
            Err(error) => wrongs = page.wrongs(error)?.named(NAMES),
        }
    }
    editor(&page, &wrongs, &server, None, &Draft::sent(&form, None)).await
}

async fn the(page: &Page, id: i64) -> Result<Role, Error> {
    roles::find(&mut *page.app.store.read().await?, id).await?.ok_or_else(missing)
}

async fn show(page: Page, Id(id): Id<i64>) -> Answer {
    let role = the(&page, id).await?;
    let server = server(&page, role.server).await?;
    editor(&page, &Wrongs::default(), &server, Some(&role), &Draft::of(&role.wanted)).await
}

async fn change(page: Page, Id(id): Id<i64>, form: Form) -> Answer {
    let role = the(&page, id).await?;
    let server = server(&page, role.server).await?;
    let mut wrongs = Wrongs::default();
    if let Some(draft) = ticked(&page, &server, Some(&role), &form).await? {
        return editor(&page, &wrongs, &server, Some(&role), &draft).await;
    }
    let wanted = wanted(&page, &form, &mut wrongs);
    if !wrongs.any() {
        // Where members are chosen apart, none was there, and none is here.
        let wanted = |had: &Wanted| Ok(Wanted { members: form.moved("m").of(&had.members), ..wanted });
        match acts::change(&page.app, &page.caller.actor, id, wanted).await {
            Ok(()) => return page.done("saved", "/manage/roles"),
            Err(error) => wrongs = page.wrongs(error)?.named(NAMES),
        }
    }
    editor(&page, &wrongs, &server, Some(&role), &Draft::sent(&form, Some(&role))).await
}

async fn ask_revoke(page: Page, Id(id): Id<i64>) -> Answer {
    let role = the(&page, id).await?;
    let text = (page.t("roles.revoke-about"), page.t("roles.revoke"));
    sure(&page, id, "revoke", &page.f("roles.revoke-title", &[("name", &role.wanted.name)]), text)
}

async fn ask_remove(page: Page, Id(id): Id<i64>) -> Answer {
    let role = the(&page, id).await?;
    let text = (page.t("roles.remove-about"), page.t("roles.remove"));
    sure(&page, id, "remove", &page.f("roles.remove-title", &[("name", &role.wanted.name)]), text)
}

fn sure(page: &Page, id: i64, what: &str, title: &str, (about, button): (&str, &str)) -> Answer {
    let body = html! {
        p { (about) }
        div .actions {
            (page.button(&format!("/manage/roles/{id}/{what}"), "", "danger", button))
            a href={ "/manage/roles/" (id) } { (page.t("form.cancel")) }
        }
    };
    page.show(title, body)
}

async fn revoke(page: Page, Id(id): Id<i64>) -> Answer {
    acts::revoke(&page.app, &page.caller.actor, id).await?;
    page.done("role-revoked", &format!("/manage/roles/{id}"))
}

async fn remove(page: Page, Id(id): Id<i64>) -> Answer {
    acts::remove(&page.app, &page.caller.actor, id).await?;
    page.done("role-removed", "/manage/roles")
}
