//! The provider as settings and secrets name it.

use std::sync::Arc;

use flowkit_core::config::{Problem, Settings};
use flowkit_core::secrets::Store as Secrets;

use super::groups::Groups;
use super::{Options, Provider};
use crate::local;

const ISSUER: &str = "FLOWKIT_FLOWAUTH_OIDC_ISSUER";
const CLIENT: &str = "FLOWKIT_FLOWAUTH_OIDC_CLIENT_ID";
const SECRET: &str = "FLOWKIT_FLOWAUTH_OIDC_CLIENT_SECRET";
const CERTIFICATE: &str = "FLOWKIT_FLOWAUTH_OIDC_CERTIFICATE";
const GROUPS: &str = "FLOWKIT_FLOWAUTH_OIDC_GROUPS";

/// The provider, if one is named.
///
/// # Errors
/// What is wrong with it.
pub fn provider(settings: &Settings, secrets: &Secrets) -> Result<Option<Arc<Provider>>, Problem> {
    let Some(issuer) = settings.text(ISSUER) else { return Ok(None) };
    let text = |name: &str| settings.text(name).unwrap_or_default().to_owned();
    let client = settings.text(CLIENT).ok_or_else(|| {
        let hint = "set it to the client id that the provider has given FlowAuth";
        Problem::new(format!("{ISSUER} is set, and {CLIENT} is not"), hint).origin(settings.origin(ISSUER))
    })?;
    let secret = secrets.optional(SECRET)?;
    let groups = settings.text(GROUPS).map(|text| {
        Groups::parse(settings.text("FLOWKIT_FLOWAUTH_OIDC_GROUPS_CLAIM").unwrap_or("groups"), text).map_err(|why| {
            let hint = "write it as GROUP=SERVER/ROLE, GROUP=administrator";
            Problem::new(format!("{GROUPS} can't be read: {why}"), hint).value(text).origin(settings.origin(GROUPS))
        })
    });
    let path = settings.text(CERTIFICATE).map(str::to_owned);
    let options = Options {
        issuer: issuer.to_owned(),
        client: client.to_owned(),
        secret,
        trusted: Arc::new(move || local::trusted(path.as_deref())),
        title: text("FLOWKIT_FLOWAUTH_OIDC_TITLE"),
        scopes: text("FLOWKIT_FLOWAUTH_OIDC_SCOPES"),
        name_claim: text("FLOWKIT_FLOWAUTH_OIDC_NAME_CLAIM"),
        groups: groups.transpose()?,
        creates: settings.flag("FLOWKIT_FLOWAUTH_OIDC_CREATE_USERS"),
    };
    let provider = Provider::new(options).map_err(|why| {
        let hint = "give it as https://HOST[/PATH], exactly as the provider writes it in its tokens";
        Problem::new(format!("{ISSUER} can't be used: {why}"), hint).value(issuer).origin(settings.origin(ISSUER))
    })?;
    Ok(Some(Arc::new(provider)))
}
