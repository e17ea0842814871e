//! A page for people on this machine: runs, their states, their results and logs. It only shows. It listens on the loopback alone, and
//! answers only whoever calls it by one of the loopback's names: a page of somebody else's in a browser can't read it under another.

use std::io::{self, Read as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use maud::{DOCTYPE, Markup, html};
use serde_json::json;
use web::axum::body::Body;
use web::axum::extract::{Path, Request, State};
use web::axum::middleware::{Next, from_fn};
use web::axum::response::{Html, IntoResponse, Response};
use web::axum::routing::get;
use web::axum::{Json, Router};
use web::{Error, Health};

use crate::engine::{Standing, now};
use crate::places::{LOGS, NOTEBOOKS, Places, REPORTS};
use crate::store::{self, Run, Store};
use crate::table::{json_of, moment, notes, outlook};

/// Runs on the page.
const MOST: i64 = 200;

/// Bytes of a file that are read at once.
const PIECE: usize = 64 << 10;

/// Reports bring all that they need with them; nothing in them runs or is loaded.
const HELD: &str = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:";

/// What the page is made of.
#[derive(Clone)]
pub struct Page {
    /// Runs.
    pub store: Store,
    /// Their files.
    pub places: Places,
    /// The rest.
    pub standing: Arc<Mutex<Standing>>,
}

/// All routes.
pub fn router(page: Page) -> Router {
    let store = page.store.clone();
    let health = Health::new(Duration::from_secs(5)).needs("database", move || {
        let store = store.clone();
        async move { store.last_look().await.map(drop).map_err(|error| error.to_string()) }
    });
    let state = page.standing.clone();
    let health = health.tells("flowapi", move || {
        let away = state.lock().expect("nobody panics with it").away.clone();
        async move { away.map_or(Ok(()), Err) }
    });
    Router::new()
        .route("/", get(shown))
        .route("/runs.json", get(for_programs))
        .route("/outputs/{part}/{name}", get(file))
        .with_state(page)
        .nest("/health", health.router())
        .layer(from_fn(by_its_name))
}

async fn by_its_name(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
        .map_or(host, |(name, _)| name);
    match name {
        "localhost" | "127.0.0.1" | "[::1]" => next.run(request).await,
        _ => Error::new(StatusCode::FORBIDDEN, "This page is for this machine: call it localhost.").into_response(),
    }
}

impl Page {
    async fn all(&self) -> store::Result<(Vec<Run>, Vec<String>)> {
        let (runs, looked) = (self.store.latest(MOST).await?, self.store.last_look().await?);
        Ok((runs, notes(&self.standing.lock().expect("nobody panics with it"), looked.as_ref())))
    }
}

async fn for_programs(State(page): State<Page>) -> Result<Json<serde_json::Value>, Error> {
    let (runs, notes) = page.all().await?;
    Ok(Json(json!({ "now": now(), "notes": notes, "runs": runs.iter().map(json_of).collect::<Vec<_>>() })))
}

async fn shown(State(page): State<Page>) -> Result<Html<String>, Error> {
    let (runs, notes) = page.all().await?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { "AutoFlow" }
            }
            body {
                h1 { "AutoFlow" }
                ul { @for note in &notes { li { (note) } } }
                @if runs.is_empty() { p { "Nothing has run yet." } }
                @else {
                    table border="1" cellpadding="6" {
                        thead { tr {
                            th scope="col" { "Workflow" } th scope="col" { "Day" } th scope="col" { "State" } th scope="col" { "Attempts" }
                            th scope="col" { "Began (UTC)" } th scope="col" { "Ended (UTC)" } th scope="col" { "Files" } th scope="col" { "What was wrong" }
                        } }
                        tbody { @for run in &runs { (row(run)) } }
                    }
                }
            }
        }
    };
    Ok(Html(page.into_string()))
}

fn row(run: &Run) -> Markup {
    let links = run.files.iter().filter(|_| run.published).filter_map(|file| {
        let (part, name) = file.split_once('/')?;
        let what = match part {
            NOTEBOOKS => "notebook",
            LOGS => "log",
            REPORTS => name.rsplit_once('.')?.1,
            _ => return None,
        };
        let stem = name.split("__").next().unwrap_or(name);
        let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        Some((format!("/outputs/{part}/{name}"), format!("{stem} ({what})")))
    });
    html! {
        tr {
            td { (run.workflow) } td { (run.reference) } td { (outlook(run)) } td { (run.attempts) }
            td { (moment(run.started)) } td { (moment(run.ended)) }
            td { @for (link, text) in links { a href=(link) { (text) } br; } }
            td { (run.error) }
        }
    }
}

async fn file(State(page): State<Page>, Path((part, name)): Path<(String, String)>) -> Result<Response, Error> {
    let kind = match name.rsplit_once('.').map(|(_, suffix)| suffix) {
        Some("pdf") => "application/pdf",
        Some("html") => "text/html; charset=utf-8",
        Some("ipynb") => "application/x-ipynb+json",
        _ => "text/plain; charset=utf-8",
    };
    let open = move || {
        let file = page.places.open(&part, &name)?;
        let length = file.metadata()?.len();
        Ok::<_, io::Error>((file.take(length), length))
    };
    let (file, length) =
        tokio::task::spawn_blocking(open).await?.map_err(|error| Error::of(StatusCode::NOT_FOUND).because(error))?;
    // A file may be larger than the memory.
    let pieces = futures_util::stream::try_unfold(file, |mut file| async {
        let read = move || {
            let mut piece = vec![0; PIECE];
            let length = file.read(&mut piece)?;
            piece.truncate(length);
            Ok::<_, io::Error>((length > 0).then_some((Bytes::from(piece), file)))
        };
        tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
    });
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, kind.parse()?);
    headers.insert(header::CONTENT_SECURITY_POLICY, HELD.parse()?);
    headers.insert(header::CONTENT_LENGTH, length.into());
    Ok((headers, Body::from_stream(pieces)).into_response())
}
