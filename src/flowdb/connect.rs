//! Connections to FlowDB, wherever it is.

use std::net::IpAddr;

use tokio_postgres::Client;

use super::cluster::{SUPERUSER_PASSWORD, cluster};
use super::{DATABASE, Error, SUPERUSER};
use flowkit_core::Site;
use flowkit_core::config::Settings;
use flowkit_core::secrets::{LookupError, Secret, Store};
use postgres::Endpoint;

/// Connects as `user`; the connection itself is driven by a task of the current runtime.
///
/// The superuser goes through the socket, where the user that runs FlowDB needs no password: so a rotated one can be
/// set. FlowMachine's and FlowAPI's logins go over TCP with their own passwords, as the programs do. Where no FlowDB runs
/// here and the settings name another host or container, everybody goes there, with a password.
pub async fn connect(site: &Site, user: &str) -> Result<Client, Error> {
    let (cluster, store) = (cluster(site), &site.store);
    let endpoint = cluster.endpoint();
    if let Some(elsewhere) = elsewhere(&endpoint, &site.settings) {
        let password = match user {
            SUPERUSER => Some(store.get(SUPERUSER_PASSWORD)?),
            _ => password_of(store, user)?,
        };
        return elsewhere.over_tcp(user, password.as_ref(), DATABASE).await;
    }
    if user == SUPERUSER {
        return cluster.as_superuser(DATABASE).await;
    }
    endpoint.over_tcp(user, password_of(store, user)?.as_ref(), DATABASE).await
}

/// The FlowDB of another host that the settings name, when there is none here.
fn elsewhere(here: &Endpoint, settings: &Settings) -> Option<Endpoint> {
    let host = settings.explicit().find(|(name, _)| *name == "FLOWDB_HOST")?.1;
    let loopback = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    (!loopback && !here.socket_file().exists()).then(|| Endpoint { listen: host.to_owned(), ..here.clone() })
}

/// The password of one of the programs' logins; `None` for a user that is not one of theirs.
fn password_of(store: &Store, user: &str) -> Result<Option<Secret>, LookupError> {
    for (name, password) in
        [("FLOWMACHINE_FLOWDB_USER", "FLOWMACHINE_FLOWDB_PASSWORD"), ("FLOWAPI_FLOWDB_USER", "FLOWAPI_FLOWDB_PASSWORD")]
    {
        if login_name(store, name)? == user {
            return store.get(password).map(Some);
        }
    }
    Ok(None)
}

/// The name of a program's login: a secret in FlowKit's guide, with a name that nobody has to give.
pub(super) fn login_name(store: &Store, secret: &str) -> Result<String, LookupError> {
    store.get(secret).map(|name| name.expose().to_owned())
}
