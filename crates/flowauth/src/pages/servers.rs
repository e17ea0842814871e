//! Servers, looked after by administrators: added by the file that a FlowAPI gives, which says its name and its scopes.

use std::collections::BTreeSet;

use maud::{Markup, html};
use web::Error;

use super::token::minutes;
use super::{Form, Input, Page, Wrongs};
use crate::acts::missing;
use crate::acts::servers as acts;
use crate::caller::Access::Admin;
use crate::routes::body::Id;
use crate::routes::{Answer, Table};
use crate::specification::Specification;
use crate::store::roles::{self, Which};
use crate::store::servers::{self, Difference, Server, Wanted};
use crate::times;

/// How long a token of a new server may live, in minutes, unless it is said otherwise: a week.
const USUAL: i64 = 7 * 1440;

pub fn enter(table: Table) -> Table {
    table
        .page("/manage/servers", Admin, list)
        .page("/manage/servers/new", Admin, ask_new)
        .form("/manage/servers/new", Admin, add)
        .page("/manage/servers/{id}", Admin, show)
        .form("/manage/servers/{id}", Admin, change)
        .form("/manage/servers/{id}/specification", Admin, compare)
        .form("/manage/servers/{id}/apply", Admin, apply)
        .page("/manage/servers/{id}/remove", Admin, ask_remove)
        .form("/manage/servers/{id}/remove", Admin, remove)
}

async fn list(page: Page) -> Answer {
    let mut db = page.app.store.read().await?;
    let servers = servers::all(&mut db).await?;
    let roles = roles::some(&mut db, Which::All).await?;
    let mut rows = Vec::new();
    for server in servers {
        let scopes = servers::scopes(&mut db, server.id).await?.iter().filter(|scope| !scope.is_withdrawn).count();
        let roles = roles.iter().filter(|role| role.server == server.id).count();
        rows.push((server, scopes, roles));
    }
    let body = html! {
        p { (page.t("servers.about")) }
        div .actions { a #new .button.main href="/manage/servers/new" { (page.t("servers.new")) } }
        @if rows.is_empty() { p .empty { (page.t("servers.empty")) } }
        ul .rows {
            @for (server, scopes, roles) in &rows {
                li {
                    div { a href={ "/manage/servers/" (server.id) } { (server.wanted.name) } }
                    div { (page.n("scopes.count", *scopes)) ", " (page.n("servers.roles", *roles)) }
                    div { (limits(&page, server.wanted.longest_minutes, server.wanted.latest_expiry)) }
                }
            }
        }
    };
    page.show(page.t("servers.title"), body)
}

/// What limits tokens.
pub fn limits(page: &Page, minutes: i64, latest: Option<i64>) -> Markup {
    html! {
        (page.f("limits.longest", &[("span", &page.limit(minutes))]))
        @if let Some(latest) = latest { ", " (page.t("limits.latest")) " " (page.until(latest)) }
    }
}

/// The two fields that limit tokens, the first by upstream's id.
pub fn limit_fields(page: &Page, wrongs: &Wrongs, id: &str, minutes: Option<i64>, latest: &str) -> Markup {
    html! {
        (page.lifetime(wrongs, id, page.t("limits.longest-label"), page.t("limits.longest-hint"), minutes))
        (page.input(wrongs, &Input {
            id: "latest", label: page.t("limits.latest-label"), hint: page.t("limits.latest-hint"),
            kind: "datetime-local", value: latest, short: true, ..Input::default()
        }))
    }
}

/// A moment as the field of a form has it, in UTC.
pub fn local(seconds: Option<i64>) -> String {
    seconds.map(|seconds| times::iso(seconds)[..16].to_owned()).unwrap_or_default()
}

/// The limits that a form says.
pub fn said_limits(page: &Page, form: &Form, id: &str, wrongs: &mut Wrongs) -> (i64, Option<i64>) {
    let longest = minutes(form, id).ok().flatten();
    if longest.is_none() {
        wrongs.add(id, page.t("form.number"));
    }
    let latest = form.some("latest").map(|text| {
        // Browsers leave the seconds out where there are none.
        let whole = if text.len() == 16 { format!("{text}:00Z") } else { format!("{text}Z") };
        times::parse(&whole)
    });
    if latest == Some(None) {
        wrongs.add("latest", page.t("form.time"));
    }
    (longest.unwrap_or_default(), latest.flatten())
}

/// What upstream's fields are called here.
const NAMES: &[(&str, &str)] = &[
    ("longest_token_life_minutes", "max-life"),
    ("latest_token_expiry", "latest"),
    ("specification", "spec-upload-button"),
];

async fn ask_new(page: Page) -> Answer {
    new_server(&page, &Wrongs::default(), &Form::default())
}

fn upload_field(page: &Page, wrongs: &Wrongs, form: &Form) -> Markup {
    let (id, label, hint) = ("spec-upload-button", page.t("servers.file"), page.t("servers.file-hint"));
    let file = page.input(wrongs, &Input { id, label, hint, kind: "file", ..Input::default() });
    let (id, label, hint) = ("url", page.t("servers.url"), page.t("servers.url-hint"));
    html! {
        (file)
        details open[wrongs.with("url").is_some()] {
            summary { (page.t("servers.by-url")) }
            (page.input(wrongs, &Input { id, label, hint, value: form.text("url"), inputmode: "url", ..Input::default() }))
            div .field {
                label for="certificate" { (page.t("servers.certificate")) }
                p .hint id="certificate-hint" { (page.t("servers.certificate-hint")) }
                textarea #certificate name="certificate" rows="3" spellcheck="false" aria-describedby="certificate-hint" { (form.text("certificate")) }
            }
        }
    }
}

fn new_server(page: &Page, wrongs: &Wrongs, form: &Form) -> Answer {
    let minutes = minutes(form, "max-life").ok().flatten().unwrap_or(USUAL);
    let body = html! {
        @if page.app.options.local.is_some() {
            form method="post" action="/manage/servers/new" .card {
                (page.hidden())
                input type="hidden" name="max-life" value=(USUAL);
                h2 { (page.t("servers.local")) }
                p { (page.f("servers.local-about", &[("span", &page.limit(USUAL))])) }
                button .main name="local" value="yes" { (page.t("servers.local-add")) }
            }
            h2 { (page.t("servers.other")) }
        }
        p { (page.t("servers.new-about")) }
        form method="post" action="/manage/servers/new" enctype="multipart/form-data" {
            (page.hidden())
            (upload_field(page, wrongs, form))
            (limit_fields(page, wrongs, "max-life", Some(minutes), form.text("latest")))
            div .actions { button .main { (page.t("servers.add")) } a href="/manage/servers" { (page.t("form.cancel")) } }
        }
    };
    page.show_with(page.t("servers.new"), wrongs, body)
}

async fn add(page: Page, form: Form) -> Answer {
    let mut wrongs = Wrongs::default();
    let (longest_minutes, latest_expiry) = said_limits(&page, &form, "max-life", &mut wrongs);
    let specification = uploaded(&page, &form, &mut wrongs).await?;
    let Some(specification) = specification.filter(|_| !wrongs.any()) else { return new_server(&page, &wrongs, &form) };
    let wanted = Wanted { name: specification.audience, latest_expiry, longest_minutes };
    match acts::add(&page.app, &page.caller.actor, wanted, &specification.scopes).await {
        Ok(id) => page.done("server-added", &format!("/manage/servers/{id}")),
        Err(error) => {
            let names: Vec<_> = NAMES.iter().copied().chain([("name", "spec-upload-button")]).collect();
            new_server(&page, &page.wrongs(error)?.named(&names), &form)
        }
    }
}

/// What the file of a form says, or the FlowAPI of this deployment where it is to be asked itself.
async fn uploaded(page: &Page, form: &Form, wrongs: &mut Wrongs) -> Result<Option<Specification>, Error> {
    if form.ticked("local") {
        match page.app.local_server().await {
            Ok(Some((_, specification))) => return Ok(Some(specification)),
            Ok(None) => return Err(missing()),
            // Why, is in the log.
            Err(_) => wrongs.add("spec-upload-button", page.t("servers.local-away")),
        }
        return Ok(None);
    }
    let text = form.text("spec-upload-button");
    if let Some(url) = form.some("url").filter(|_| text.trim().is_empty()) {
        return match page.app.server_at(&page.caller.actor, url, form.some("certificate")).await {
            Ok((_, specification)) => Ok(Some(specification)),
            Err(error) => {
                let why = page.wrongs(error)?;
                wrongs.add("url", why.with("url").unwrap_or_default());
                Ok(None)
            }
        };
    }
    if text.trim().is_empty() {
        wrongs.add("spec-upload-button", page.t("servers.file-missing"));
        return Ok(None);
    }
    match acts::read(text.as_bytes()) {
        Ok(specification) => Ok(Some(specification)),
        Err(error) => {
            let why = page.wrongs(error)?;
            wrongs.add("spec-upload-button", why.with("specification").unwrap_or_default());
            Ok(None)
        }
    }
}

async fn the(page: &Page, id: i64) -> Result<Server, Error> {
    servers::find(&mut *page.app.store.read().await?, id).await?.ok_or_else(missing)
}

async fn show(page: Page, Id(id): Id<i64>) -> Answer {
    edit(&page, &Wrongs::default(), id, None).await
}

async fn edit(page: &Page, wrongs: &Wrongs, id: i64, form: Option<&Form>) -> Answer {
    let (server, scopes, roles) = {
        let mut db = page.app.store.read().await?;
        let server = servers::find(&mut db, id).await?.ok_or_else(missing)?;
        (server, servers::scopes(&mut db, id).await?, roles::some(&mut db, Which::OfServer(id)).await?)
    };
    let minutes = match form {
        Some(form) => minutes(form, "max-life").ok().flatten(),
        None => Some(server.wanted.longest_minutes),
    };
    let latest = form.map_or_else(|| local(server.wanted.latest_expiry), |form| form.text("latest").to_owned());
    let at = format!("/manage/servers/{id}");
    let withdrawn = scopes.iter().filter(|scope| scope.is_withdrawn).count();
    let body = html! {
        p {
            (page.n("scopes.count", scopes.len() - withdrawn))
            @if withdrawn > 0 { ", " (page.n("servers.withdrawn", withdrawn)) }
            ". "
            a href={ "/manage/roles/new?server=" (id) } { (page.t("servers.new-role")) }
        }
        @if !roles.is_empty() {
            p { (page.t("servers.its-roles")) " " @for (at, role) in roles.iter().enumerate() { @if at > 0 { ", " } a href={ "/manage/roles/" (role.id) } { (role.wanted.name) } } }
        }
        form method="post" action=(at) {
            (page.hidden())
            (page.input(wrongs, &Input {
                id: "name", label: page.t("servers.name"), hint: page.t("servers.name-hint"),
                value: form.map_or(&server.wanted.name, |form| form.text("name")), ..Input::default()
            }))
            (limit_fields(page, wrongs, "max-life", minutes, &latest))
            div .actions { button .main { (page.t("form.save")) } a href="/manage/servers" { (page.t("form.cancel")) } }
        }
        h2 { (page.t("servers.update")) }
        p { (page.t("servers.update-about")) }
        form method="post" action={ (at) "/specification" } enctype="multipart/form-data" {
            (page.hidden())
            (upload_field(page, wrongs, &Form::default()))
            div .actions {
                button { (page.t("servers.compare")) }
                @if page.app.options.local.is_some() {
                    button name="local" value="yes" { (page.t("servers.local-compare")) }
                }
            }
        }
        h2 { (page.t("servers.end")) }
        p { a .button.danger href={ (at) "/remove" } { (page.t("servers.remove")) } }
    };
    page.show_with(&page.f("servers.one", &[("name", &server.wanted.name)]), wrongs, body)
}

async fn change(page: Page, Id(id): Id<i64>, form: Form) -> Answer {
    let mut wrongs = Wrongs::default();
    let (longest_minutes, latest_expiry) = said_limits(&page, &form, "max-life", &mut wrongs);
    if wrongs.any() {
        return edit(&page, &wrongs, id, Some(&form)).await;
    }
    let wanted = Wanted { name: form.text("name").to_owned(), latest_expiry, longest_minutes };
    match acts::change(&page.app, &page.caller.actor, id, |_| Ok(wanted)).await {
        Ok(()) => page.done("saved", "/manage/servers"),
        Err(error) => edit(&page, &page.wrongs(error)?.named(NAMES), id, Some(&form)).await,
    }
}

/// Shows what a file would change; it is sent along, so that what is applied is what was seen.
async fn compare(page: Page, Id(id): Id<i64>, form: Form) -> Answer {
    let server = the(&page, id).await?;
    let mut wrongs = Wrongs::default();
    let Some(specification) = uploaded(&page, &form, &mut wrongs).await? else {
        return edit(&page, &wrongs, id, None).await;
    };
    if let Err(error) = acts::is_of(&specification, &server) {
        return edit(&page, &page.wrongs(error)?.named(NAMES), id, None).await;
    }
    let difference = servers::compare(&mut *page.app.store.read().await?, id, &specification.scopes).await?;
    let names: Vec<&str> = specification.scopes.iter().map(String::as_str).collect();
    let body = html! {
        @if difference == Difference::default() {
            p { (page.t("compare.same")) }
            p { a href={ "/manage/servers/" (id) } { (page.t("compare.back")) } }
        } @else {
            p { (page.t("compare.about")) }
            (listed(&page.n("compare.added", difference.added.len()), page.t("compare.added-about"), &difference.added))
            (listed(&page.n("compare.back-again", difference.back.len()), page.t("compare.back-about"), &difference.back))
            @if !difference.gone.is_empty() {
                section {
                    h2 { (page.n("compare.gone", difference.gone.len())) }
                    p { (page.t("compare.gone-about")) }
                    ul .plain {
                        // Those that somebody has come first.
                        @let (had, others): (Vec<_>, Vec<_>) = difference.gone.iter().partition(|(_, roles)| !roles.is_empty());
                        @for (name, roles) in had.into_iter().chain(others) {
                            li { code { (name) } @if !roles.is_empty() { " " span .badge.bad { (page.f("compare.in-roles", &[("roles", &roles.join(", "))])) } } }
                        }
                    }
                }
            }
            form method="post" action={ "/manage/servers/" (id) "/apply" } {
                (page.hidden())
                input type="hidden" name="scopes" value=(names.join("\n"));
                div .actions { button .main { (page.t("compare.apply")) } a href={ "/manage/servers/" (id) } { (page.t("form.cancel")) } }
            }
        }
    };
    page.show(&page.f("compare.title", &[("name", &server.wanted.name)]), body)
}

fn listed(title: &str, about: &str, names: &BTreeSet<String>) -> Markup {
    html! {
        @if !names.is_empty() {
            section {
                h2 { (title) }
                p { (about) }
                @if names.len() > 20 { details { summary { (title) } ul .plain { @for name in names { li { code { (name) } } } } } }
                @else { ul .plain { @for name in names { li { code { (name) } } } } }
            }
        }
    }
}

async fn apply(page: Page, Id(id): Id<i64>, form: Form) -> Answer {
    let audience = the(&page, id).await?.wanted.name;
    let scopes: BTreeSet<String> = form.text("scopes").lines().map(str::to_owned).collect();
    if scopes.is_empty() {
        let mut wrongs = Wrongs::default();
        wrongs.add("spec-upload-button", page.t("servers.file-missing"));
        return edit(&page, &wrongs, id, None).await;
    }
    match acts::take_over(&page.app, &page.caller.actor, id, &Specification { audience, scopes }).await {
        Ok(_) => page.done("scopes", &format!("/manage/servers/{id}")),
        Err(error) => edit(&page, &page.wrongs(error)?.named(NAMES), id, None).await,
    }
}

async fn ask_remove(page: Page, Id(id): Id<i64>) -> Answer {
    let server = the(&page, id).await?;
    let body = html! {
        p { (page.t("servers.remove-about")) }
        div .actions {
            (page.button(&format!("/manage/servers/{id}/remove"), "", "danger", page.t("servers.remove")))
            a href={ "/manage/servers/" (id) } { (page.t("form.cancel")) }
        }
    };
    page.show(&page.f("servers.remove-title", &[("name", &server.wanted.name)]), body)
}

async fn remove(page: Page, Id(id): Id<i64>) -> Answer {
    acts::remove(&page.app, &page.caller.actor, id).await?;
    page.done("server-removed", "/manage/servers")
}
