//! Signing in by an OpenID Connect provider: away to it, and back.

use http::HeaderMap;
use web::Error;

use super::signin::{sign_in_form, signed_in, wanted};
use super::{Page, quoted, to};
use crate::acts::signin::{self, Given, Proof};
use crate::acts::{missing, provider as acts};
use crate::caller::Access::Open;
use crate::caller::{cookie, set_cookie};
use crate::oidc::{Attempt, Failure};
use crate::routes::{Answer, Table};
use crate::store::audit::Actor;
use crate::store::users::User;

/// What a browser carries while its user is away.
const COOKIE: &str = "provider";

const RETURN: &str = "/sign-in/provider/return";

pub fn enter(table: Table) -> Table {
    table.page("/sign-in/provider", Open, leave).page(RETURN, Open, arrive)
}

fn carry(headers: &mut HeaderMap, sealed: &str, seconds: u32) {
    let path = "/sign-in/provider";
    set_cookie(headers, &format!("{COOKIE}={sealed}; Path={path}; Secure; HttpOnly; SameSite=Lax; Max-Age={seconds}"));
}

async fn leave(page: Page) -> Answer {
    let provider = page.app.options.provider.as_ref().ok_or_else(missing)?;
    let next = page.query("next").unwrap_or_default();
    let left = provider.leave(format!("{}{RETURN}", page.origin()), wanted(&next)).await;
    let (place, attempt) = match left {
        Ok(left) => left,
        Err(failure) => return refuse(&page, acts::refused(failure), &next),
    };
    let mut response = to(&place);
    carry(response.headers_mut(), &page.app.keys.vault.seal(&serde_json::to_string(&attempt)?), 600);
    Ok(response)
}

/// The page to sign in, which says why it was not done.
fn refuse(page: &Page, error: Error, next: &str) -> Answer {
    let mut response = sign_in_form(page, &page.wrongs(error)?, "", next)?;
    carry(response.headers_mut(), "", 0);
    Ok(response)
}

async fn arrive(page: Page) -> Answer {
    let provider = page.app.options.provider.as_ref().ok_or_else(missing)?;
    let sealed = cookie(&page.headers, COOKIE).and_then(|sealed| page.app.keys.vault.open(sealed).ok());
    let Some(attempt) = sealed.and_then(|text| serde_json::from_str::<Attempt>(&text).ok()) else {
        return refuse(&page, acts::refused(Failure::Forged), "");
    };
    let actor = Actor { user: None, ..page.caller.actor.clone() };
    let come = async {
        let claims = provider.arrive(&attempt, page.uri.query().unwrap_or_default()).await.map_err(acts::refused)?;
        acts::arrive(&page.app, &actor, provider, &claims).await
    };
    let mut response = match come.await {
        Ok(user) => come_in(&page, &actor, &user, &attempt.next).await?,
        Err(error) => return refuse(&page, error, &attempt.next),
    };
    // It is good for once.
    carry(response.headers_mut(), "", 0);
    Ok(response)
}

/// A second factor that somebody has set up here is asked for here.
async fn come_in(page: &Page, actor: &Actor, user: &User, next: &str) -> Answer {
    if user.has_factor {
        let begun = signin::await_code(&page.app, actor, &page.headers, user, Proof::Provider).await?;
        return Ok(signed_in(page, &format!("/sign-in/code?next={}", quoted(wanted(next))), &begun));
    }
    let begun = signin::begin(&page.app, actor, &page.headers, user, Proof::Provider, Given::Provider).await?;
    Ok(signed_in(page, wanted(next), &begun))
}
