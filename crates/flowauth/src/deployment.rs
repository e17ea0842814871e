//! What administrators are told of the deployment: what FlowAuth knows itself, and what the FlowAPI beside it answers.
//!
//! The way to that FlowAPI is the one that there is anyway: https to the server that has its certificate, with a token of a minute that allows to
//! ask for the days of data and how the deployment is, and nothing else. No other role is asked, and nobody is let in anywhere for it. Where FlowAuth stands outside, it
//! says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use access::Wish;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use web::Error;

use crate::app::App;
use crate::local::Local;
use crate::store::audit::Actor;
use crate::store::{Kind, keys, now, tokens, users};
use crate::times;

/// For how long what was found out is told again.
const FRESH: Duration = Duration::from_secs(60);

/// How long the token lives, in seconds, and all that it allows.
const LIFE: u64 = 60;
const SCOPES: [&str; 2] = ["get_available_dates", "get_deployment"];

/// What ends within so many seconds is near its end: two weeks.
const NEAR: i64 = 14 * 86400;

/// Tokens that are looked at, those that end first.
const MOST: i64 = 200;

/// What is told.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Since when this FlowAuth runs.
    pub since: i64,
    /// Where its data are.
    pub database: Kind,
    /// Certificates by whose they are, and when each ends.
    pub certificates: Vec<(&'static str, Option<i64>)>,
    /// The FlowAPI beside it; `None` where it stands outside.
    pub flowapi: Option<FlowApi>,
    /// What ends soon: kind, name, whose, when.
    pub near: Vec<(&'static str, String, String, i64)>,
}

/// What the FlowAPI beside us answers.
#[derive(Clone, Debug, Default)]
pub struct FlowApi {
    /// Its name; `None` where it does not answer.
    pub name: Option<String>,
    /// What it needs, and whether it has that.
    pub parts: BTreeMap<String, bool>,
    /// Days of data by kind; `None` where it does not say.
    pub days: Option<BTreeMap<String, BTreeSet<String>>>,
    /// Since when it runs, FlowDB, and queries; `None` where it does not say, such as upstream's.
    pub figures: Option<Figures>,
}

/// What a FlowAPI of ours tells of the deployment. Times are in seconds since 1970, sizes in bytes.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Figures {
    /// Since when FlowAPI runs.
    pub since: i64,
    /// Since when FlowMachine has answered it; an older FlowAPI does not say.
    #[serde(default)]
    pub flowmachine_answers_since: Option<i64>,
    /// What FlowDB says of itself.
    pub flowdb: Option<FlowDb>,
    /// Queries that failed lately and were not run again, the last one first.
    pub failed: Vec<Failed>,
}

/// Since when FlowDB runs, what it has, and how many of FlowMachine's queries run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct FlowDb {
    pub since: i64,
    pub bytes: u64,
    pub running: u64,
    pub cache: Cache,
}

/// Stored results, and how much they may take.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Cache {
    pub bytes: u64,
    pub most: Option<u64>,
    pub results: u64,
}

/// A query that came to nothing.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Failed {
    pub query_id: String,
    pub query_kind: Option<String>,
    pub at: i64,
}

/// What the FlowAPI said last, and when.
pub type Last = tokio::sync::Mutex<Option<(Instant, FlowApi)>>;

impl App {
    /// What there is to tell.
    pub(crate) async fn deployment(&self) -> Result<Deployment, Error> {
        let flowapi = match &self.options.local {
            Some(_) => Some(self.flowapi().await?),
            None => None,
        };
        let certificate = |pem: Result<String, String>| {
            let chain = https::chain(&pem.ok()?).ok()?;
            let ends = https::ends(chain.first()?)?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
            i64::try_from(ends.as_secs()).ok()
        };
        let own = self.options.certificate.iter().map(|pem| ("FlowAuth", certificate(pem.read())));
        let theirs = self.options.local.iter().map(|local| ("FlowAPI", certificate(local.trusted())));
        Ok(Deployment {
            since: self.since,
            database: self.store.kind(),
            certificates: own.chain(theirs).collect(),
            flowapi,
            near: self.near().await?,
        })
    }

    async fn near(&self) -> Result<Vec<(&'static str, String, String, i64)>, Error> {
        let until = now() + NEAR;
        let mut db = self.store.read().await?;
        let users = users::all(&mut db).await?;
        let tokens = tokens::live(&mut db, MOST).await?.into_iter().map(|token| token.made);
        let tokens = tokens.map(|made| ("token", made.name, made.user_name, made.expires_at));
        let keys = keys::all(&mut db).await?.into_iter().filter_map(|key| {
            let user = users.iter().find(|user| user.id == key.user)?;
            Some(("key", key.name, user.name.clone(), key.expires_at))
        });
        let mut near: Vec<_> = tokens.chain(keys).filter(|(_, _, _, ends)| (now()..until).contains(ends)).collect();
        near.sort_by_key(|(_, _, _, ends)| *ends);
        Ok(near)
    }

    /// What the FlowAPI beside us says, or has said lately.
    async fn flowapi(&self) -> Result<FlowApi, Error> {
        let mut last = self.beside.lock().await;
        if let Some((at, said)) = last.as_ref()
            && at.elapsed() < FRESH
        {
            return Ok(said.clone());
        }
        let said = self.ask_flowapi().await?;
        *last = Some((Instant::now(), said.clone()));
        Ok(said)
    }

    async fn ask_flowapi(&self) -> Result<FlowApi, Error> {
        let Some(local) = &self.options.local else { return Ok(FlowApi::default()) };
        let mut said = FlowApi::default();
        match local.ask("/api/0/health/ready", None).await {
            Ok((_, body)) => {
                let parts = body["parts"].as_object().into_iter().flatten();
                said.parts = parts.map(|(name, state)| (name.clone(), state == "ok")).collect();
            }
            Err(why) => {
                tracing::warn!(why, "FlowAPI does not say how it is");
                return Ok(said);
            }
        }
        // Its name is that of its tokens.
        let Ok(Some((_, specification))) = self.local_server().await else { return Ok(said) };
        said.name = Some(specification.audience.clone());
        let token = self.own_token(specification.audience).await?;
        let [dates, figures] = ["/api/0/available_dates", "/api/0/deployment"].map(|path| told(local, path, &token));
        let (dates, figures) = tokio::join!(dates, figures);
        said.days = dates.and_then(|body| days(&body["available_dates"]));
        said.figures = figures.and_then(|body| serde_json::from_value(body).ok());
        Ok(said)
    }

    /// A token of our own, which is in the log before it is made.
    async fn own_token(&self, audience: String) -> Result<String, Error> {
        let change = self.store.change().await?;
        let detail = json!({ "scopes": SCOPES, "seconds": LIFE });
        change.commit(&Actor::program().does("token.own", &*audience, detail)).await?;
        let roles = vec![("deployment".to_owned(), SCOPES.map(str::to_owned).to_vec())];
        let lifetime = Duration::from_secs(LIFE);
        let wish = Wish { user: "flowauth".to_owned(), audience, lifetime, roles, ..Wish::default() };
        Ok(tokio::task::block_in_place(|| self.keys.minter.mint(&wish, SystemTime::now(), &mut rand::rng()))?)
    }
}

/// What FlowAPI answers to this token; `None` and a line in the log where it does not.
async fn told(local: &Local, path: &str, token: &str) -> Option<Value> {
    let why = match local.ask(path, Some(token)).await {
        Ok((StatusCode::OK, body)) => return Some(body),
        Ok((status, _)) => status.to_string(),
        Err(why) => why,
    };
    tracing::warn!(path, why, "FlowAPI does not say how the deployment is");
    None
}

fn days(of: &Value) -> Option<BTreeMap<String, BTreeSet<String>>> {
    let kinds = of.as_object()?.iter();
    Some(
        kinds
            .map(|(kind, days)| {
                let days = days.as_array().into_iter().flatten().filter_map(Value::as_str);
                (kind.clone(), days.map(str::to_owned).collect())
            })
            .collect(),
    )
}

impl Deployment {
    /// The same for programs.
    pub fn shown(&self) -> Value {
        let near = self.near.iter();
        let near = near.map(
            |(kind, name, user, ends)| json!({ "kind": kind, "name": name, "user": user, "ends": times::iso(*ends) }),
        );
        let certificates = self.certificates.iter();
        let certificates = certificates.map(|(of, ends)| json!({ "of": of, "ends": ends.map(times::iso) }));
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "since": times::iso(self.since),
            "database": match self.database { Kind::Sqlite => "sqlite", Kind::Postgres => "postgresql" },
            "certificates": certificates.collect::<Vec<_>>(),
            "flowapi": self.flowapi.as_ref().map(|flowapi| json!({
                "name": flowapi.name, "parts": flowapi.parts, "days": flowapi.days, "figures": flowapi.figures,
            })),
            "near_their_end": near.collect::<Vec<_>>(),
        })
    }
}
