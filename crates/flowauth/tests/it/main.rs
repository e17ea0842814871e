//! The server, its pages and its storage. Every part is tried on SQLite and on PostgreSQL by the same code: a test is a database, and goes
//! through all parts, each on a fresh one.

mod acme;
mod browser;
mod crash;
mod document;
mod factors;
mod flows;
mod hostile;
mod import;
mod instances;
mod matrix;
mod oidc;
mod pages;
mod passkeys;
mod postgres;
mod races;
mod rig;
mod sessions;
mod start;
mod store;
mod takeover;

use flowauth::store::{Address, Store};

/// A test of each database over the same parts.
macro_rules! on_both {
    ($($part:path),* $(,)?) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn on_sqlite() {
            $({
                eprintln!("{}", stringify!($part));
                let dir = tempfile::tempdir().unwrap();
                let address = flowauth::store::Address::File(dir.path().join("deep/flowauth.sqlite"));
                $part(address).await;
            })*
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn on_postgres() {
            let server = postgres_rig::Server::start();
            let mut number = 0;
            $({
                eprintln!("{}", stringify!($part));
                number += 1;
                let address = crate::postgres::database(&server, &format!("part{number}"));
                $part(address).await;
            })*
            assert!(number > 0);
        }
    };
}
pub(crate) use on_both;

/// Opens what a part was given.
pub async fn open(address: &Address) -> Store {
    Store::open(address).await.unwrap_or_else(|error| panic!("{error:?}"))
}
