//! The log of who did what, for administrators, to look through and to take away; and the public key, for FlowAPI.

use http::header;
use maud::html;
use serde_json::json;
use web::axum::response::IntoResponse as _;

use super::{Page, quoted};
use crate::caller::Access::Admin;
use crate::routes::{Answer, Table, public};
use crate::store::audit::{self, Filter, Line};
use crate::times;

/// Lines on one page, and in one file.
const LINES: i64 = 100;
const MOST: i64 = 100_000;

pub fn enter(table: Table) -> Table {
    table
        .page("/manage/audit", Admin, list)
        .page("/manage/audit/export", Admin, export)
        .page("/manage/key", Admin, key)
        .page("/manage/key/download", Admin, download)
}

fn filter(page: &Page) -> Filter {
    let text = |name| page.query(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    Filter { actor: text("user"), action: text("action"), object: text("object") }
}

async fn list(page: Page) -> Answer {
    let filter = filter(&page);
    let before = page.query("before").and_then(|id| id.parse().ok()).unwrap_or(i64::MAX);
    let mut db = page.app.store.read().await?;
    let lines = audit::matching(&mut db, &filter, before, LINES).await?;
    let actions = audit::actions(&mut db).await?;
    let value = |text: &Option<String>| text.clone().unwrap_or_default();
    let (user, action, object) = (value(&filter.actor), value(&filter.action), value(&filter.object));
    let query = format!("user={}&action={}&object={}", quoted(&user), quoted(&action), quoted(&object));
    let older =
        lines.last().filter(|_| lines.len() == usize::try_from(LINES).unwrap_or(usize::MAX)).map(|line| line.id);
    let words = |action: &str| page.texts.find(&format!("action.{action}")).unwrap_or(action).to_owned();
    let body = html! {
        p { (page.t("audit.about")) }
        form method="get" action="/manage/audit" .filter {
            div { label for="user" { (page.t("audit.user")) } input #user name="user" value=(user) autocomplete="off"; }
            div {
                label for="action" { (page.t("audit.action")) }
                select #action name="action" {
                    option value="" { (page.t("audit.any")) }
                    @for one in &actions { option value=(one) selected[*one == action] { (words(one)) } }
                }
            }
            div { label for="object" { (page.t("audit.object")) } input #object name="object" value=(object) autocomplete="off"; }
            button { (page.t("audit.find")) }
        }
        p .actions {
            a .button href={ "/manage/audit/export?form=csv&" (query) } { (page.t("audit.csv")) }
            a .button href={ "/manage/audit/export?form=jsonl&" (query) } { (page.t("audit.jsonl")) }
        }
        @if lines.is_empty() { p .empty { (page.t("audit.empty")) } }
        @else {
            div .scroll role="region" tabindex="0" aria-label=(page.t("audit.title")) {
                table {
                    thead { tr { th { (page.t("audit.at")) } th { (page.t("audit.user")) } th { (page.t("audit.action")) } th { (page.t("audit.object")) } th { (page.t("audit.address")) } th { (page.t("audit.detail")) } } }
                    tbody {
                        @for line in &lines {
                            tr {
                                td { (page.time(line.at)) }
                                td { (line.actor.as_deref().unwrap_or("–")) }
                                td { (words(&line.action)) }
                                td { (line.object) }
                                td { (line.address) }
                                td { @if line.detail != json!({}) { details { summary { (page.t("audit.more")) } code { (line.detail.to_string()) } } } }
                            }
                        }
                    }
                }
            }
        }
        @if let Some(id) = older { p { a href={ "/manage/audit?before=" (id) "&" (query) } { (page.t("audit.older")) } } }
    };
    page.show(page.t("audit.title"), body)
}

async fn export(page: Page) -> Answer {
    let lines = audit::matching(&mut *page.app.store.read().await?, &filter(&page), i64::MAX, MOST).await?;
    let is_csv = page.query("form").as_deref() == Some("csv");
    let mut text = String::new();
    if is_csv {
        text.push_str("id,at,user,action,object,address,request,detail\r\n");
    }
    for line in lines.iter().rev() {
        text.push_str(&if is_csv { csv(line) } else { format!("{}\n", public::line(line)) });
    }
    let (kind, name) = match is_csv {
        true => ("text/csv; charset=utf-8", "attachment; filename=\"flowauth-log.csv\""),
        false => ("application/jsonl", "attachment; filename=\"flowauth-log.jsonl\""),
    };
    Ok(([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)], text).into_response())
}

/// A line of RFC 4180. What a spreadsheet would take for a formula is marked as text: names are chosen by users.
fn csv(line: &Line) -> String {
    let field = |text: &str| {
        let mark = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
        format!("\"{mark}{}\"", text.replace('"', "\"\""))
    };
    let Line { id, at, actor, action, object, detail, address, request } = line;
    let (at, detail) = (times::iso(*at), detail.to_string());
    let texts = [&*at, actor.as_deref().unwrap_or_default(), action, object, address, request, &*detail].map(field);
    format!("{id},{}\r\n", texts.join(","))
}

async fn key(page: Page) -> Answer {
    let body = html! {
        p { (page.t("key.about")) }
        pre #public_key_body .token { (page.app.keys.public_pem.trim()) }
        div .actions {
            button type="button" hidden data-copy="public_key_body" data-copied=(page.t("form.copied")) { (page.t("form.copy")) }
            a #download .button href="/manage/key/download" { (page.t("form.download")) }
        }
        p { (page.t("key.others")) " " code { "/.well-known/jwks.json" } }
    };
    page.show(page.t("key.title"), body)
}

async fn download(page: Page) -> Answer {
    let headers = [
        (header::CONTENT_TYPE, "application/x-pem-file"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"flowauth_public_key.pub\""),
    ];
    Ok((headers, page.app.keys.public_pem.clone()).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spreadsheet_runs_nothing_that_a_user_has_called_something() {
        let line = Line {
            id: 1,
            at: 0,
            actor: Some("a\"b".to_owned()),
            action: "token.mint".to_owned(),
            object: "=cmd()".to_owned(),
            detail: json!({}),
            address: "::1".to_owned(),
            request: String::new(),
        };
        let expected =
            "1,\"1970-01-01T00:00:00.000000Z\",\"a\"\"b\",\"token.mint\",\"'=cmd()\",\"::1\",\"\",\"{}\"\r\n";
        assert_eq!(csv(&line), expected);
    }
}
