//! One's second factor: set up in three steps on one page, backup codes, and how to be rid of it.

use http::header;
use maud::{Markup, PreEscaped, html};
use qrcode::QrCode;
use qrcode::render::svg;
use web::axum::response::IntoResponse as _;

use super::passkeys::section;
use super::{Form, Input, Page, Wrongs, to};
use crate::acts::account::{self as acts, Shown};
use crate::acts::missing;
use crate::caller::Access::{Account, SignedIn};
use crate::caller::must_set_up;
use crate::codes;
use crate::routes::{Answer, Table};
use crate::store::{factors, passkeys};

pub fn enter(table: Table) -> Table {
    table
        .page("/account/two-factor", SignedIn, show)
        .form("/account/two-factor", SignedIn, begin)
        .page("/account/two-factor/set-up", SignedIn, show_set_up)
        .form("/account/two-factor/set-up", SignedIn, confirm)
        .page("/account/two-factor/backup-codes", SignedIn, download)
        .form("/account/two-factor/new-codes", Account, new_codes)
        .form("/account/two-factor/use-codes", Account, use_codes)
        .page("/account/two-factor/disable", Account, ask_disable)
        .form("/account/two-factor/disable", Account, disable)
}

async fn show(page: Page) -> Answer {
    overview(&page, &Wrongs::default()).await
}

/// What there is of it, and what can be added.
pub async fn overview(page: &Page, wrongs: &Wrongs) -> Answer {
    let user = page.user()?;
    let (left, keys) = {
        let mut db = page.app.store.read().await?;
        (factors::codes(&mut db, user.id).await?.len(), passkeys::of_user(&mut db, user.id).await?)
    };
    let body = html! {
        @if must_set_up(user) { p .note { (page.t("factor.required")) } }
        p { (page.t("factor.about")) }
        @if user.has_factor {
            p { span .badge.good { (page.t("factor.on")) } " " (page.n("factor.left", left)) }
            @if left == 0 { p .note { (page.t("factor.no-codes")) } }
            div .actions {
                (page.button("/account/two-factor/new-codes", "", "", page.t("factor.new-codes")))
                @if user.has_app { (page.button("/account/two-factor", "reset_two_factor", "", page.t("factor.reset"))) }
                @if user.needs_factor { span .hint { (page.t("factor.kept")) } }
                @else { a .button.danger href="/account/two-factor/disable" { (page.t("factor.disable")) } }
            }
        }
        @if !user.has_app {
            h2 { (page.t("factor.app")) }
            p { (page.t("factor.how")) }
            (page.button("/account/two-factor", "enable_two_factor", "main", page.t("factor.enable")))
        }
        (section(page, &keys))
    };
    page.show_with(page.t("factor.title"), wrongs, body)
}

async fn begin(page: Page) -> Answer {
    acts::propose(&page.app, &page.caller, true).await?;
    Ok(to("/account/two-factor/set-up"))
}

async fn new_codes(page: Page) -> Answer {
    acts::propose(&page.app, &page.caller, false).await?;
    Ok(to("/account/two-factor/set-up"))
}

async fn show_set_up(page: Page) -> Answer {
    set_up(&page, &Wrongs::default()).await
}

/// The picture of a text, black on white also where the page is dark: cameras want it so.
fn picture(text: &str) -> Option<String> {
    let code = QrCode::new(text.as_bytes()).ok()?;
    let image = code.render::<svg::Color<'_>>().min_dimensions(220, 220).build();
    Some(image[image.find("<svg")?..].replacen("<svg", "<svg role=\"img\" aria-labelledby=\"scan\"", 1))
}

fn backup_codes(page: &Page, shown: &Shown) -> Markup {
    html! {
        p { (page.t("factor.codes-about")) }
        ul #backup-codes .codes {
            // The dash is for the eye.
            @for code in &shown.codes { li { code data-cy="backup_code" { (code[..5]) "-" (code[5..]) } } }
        }
        div .actions {
            a .button href="/account/two-factor/backup-codes" download="two_factor_backups.txt" { (page.t("form.download")) }
            button type="button" hidden data-copy="backup-codes" data-copied=(page.t("form.copied")) { (page.t("form.copy")) }
        }
    }
}

async fn set_up(page: &Page, wrongs: &Wrongs) -> Answer {
    let user = page.user()?;
    let Some(shown) = acts::shown(&page.app, user).await? else { return Ok(to("/account/two-factor")) };
    let Some(secret) = &shown.secret else {
        let body = html! {
            (backup_codes(page, &shown))
            form method="post" action="/account/two-factor/use-codes" {
                (page.hidden())
                input type="hidden" name="reference" value=(shown.reference);
                p { (page.t("factor.codes-replace")) }
                div .actions {
                    button .main { (page.t("factor.codes-use")) }
                    a href="/account/two-factor" { (page.t("form.cancel")) }
                }
            }
        };
        return page.show_with(page.t("factor.codes-title"), wrongs, body);
    };
    let url = codes::provisioning_url(&page.app.options.issuer, &user.name, secret);
    let spaced: Vec<&str> = secret.as_bytes().chunks(4).filter_map(|part| std::str::from_utf8(part).ok()).collect();
    let body = html! {
        @if must_set_up(user) { p .note { (page.t("factor.required")) } }
        ol .big {
            li {
                h2 #scan { (page.t("factor.scan")) }
                p { (page.t("factor.scan-about")) }
                @if let Some(picture) = picture(&url) { div .qr data-id="qr_code" data-secret={ (**secret) "." (shown.reference) } { (PreEscaped(picture)) } }
                p { (page.t("factor.by-hand")) " " code #secret { (spaced.join(" ")) } }
            }
            li { h2 { (page.t("factor.codes-title")) } (backup_codes(page, &shown)) }
            li {
                h2 { (page.t("factor.confirm")) }
                form method="post" action="/account/two-factor/set-up" {
                    (page.hidden())
                    input type="hidden" name="reference" value=(shown.reference);
                    (page.input(wrongs, &Input {
                        id: "auth_code", label: page.t("factor.code"), hint: page.t("factor.code-hint"),
                        autocomplete: "one-time-code", inputmode: "numeric", short: true, ..Input::default()
                    }))
                    div .actions {
                        button .main { (page.t("factor.activate")) }
                        @if !must_set_up(user) { a href="/account/two-factor" { (page.t("form.cancel")) } }
                    }
                }
            }
        }
    };
    page.show_with(page.t("factor.set-up"), wrongs, body)
}

async fn confirm(page: Page, form: Form) -> Answer {
    let Some(code) = form.some("auth_code") else {
        let mut wrongs = Wrongs::default();
        wrongs.add("auth_code", page.t("sign-in.code-missing"));
        return set_up(&page, &wrongs).await;
    };
    match acts::confirm(&page.app, &page.caller, form.text("reference"), None, code).await {
        Ok(()) => page.done("factor", "/account/two-factor"),
        Err(error) => set_up(&page, &page.wrongs(error)?.named(&[("", "auth_code")])).await,
    }
}

/// The codes that are shown, one a line.
async fn download(page: Page) -> Answer {
    let shown = acts::shown(&page.app, page.user()?).await?.ok_or_else(missing)?;
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"two_factor_backups.txt\""),
    ];
    Ok((headers, shown.codes.join("\n") + "\n").into_response())
}

async fn use_codes(page: Page, form: Form) -> Answer {
    match acts::use_codes(&page.app, &page.caller, form.text("reference")).await {
        Ok(()) => page.done("codes", "/account/two-factor"),
        Err(error) => set_up(&page, &page.wrongs(error)?).await,
    }
}

async fn ask_disable(page: Page) -> Answer {
    confirm_disable(&page, &Wrongs::default())
}

fn confirm_disable(page: &Page, wrongs: &Wrongs) -> Answer {
    let body = html! {
        p { (page.t("factor.disable-about")) }
        div .actions {
            (page.button("/account/two-factor/disable", "", "danger", page.t("factor.disable")))
            a href="/account/two-factor" { (page.t("form.cancel")) }
        }
    };
    page.show_with(page.t("factor.disable-title"), wrongs, body)
}

async fn disable(page: Page) -> Answer {
    match acts::disable(&page.app, &page.caller).await {
        Ok(()) => page.done("factor-off", "/account/two-factor"),
        Err(error) => confirm_disable(&page, &page.wrongs(error)?),
    }
}
