//! The routes, one module for each part. Each is entered in a table together with whom it is for, and can't be had otherwise.

mod account;
pub(crate) mod body;
mod keys;
mod local;
mod openapi;
pub(crate) mod public;
mod roles;
mod servers;
mod signin;
mod tokens;
mod users;

use std::collections::BTreeSet;
use std::sync::Arc;

use http::{Method, header};
use serde_json::{Map, Value};
use web::axum::Router;
use web::axum::handler::Handler;
use web::axum::middleware::from_fn_with_state;
use web::axum::response::{IntoResponse as _, Response};
use web::axum::routing::{MethodFilter, get, on, post};
use web::{Error, Failure};

use crate::app::App;
use crate::caller::{Access, guard};
use crate::pages::{self, lead};

/// A handler's answer.
pub(crate) type Answer = Result<Response, Error>;

/// Routes, each with whom it is for.
pub struct Table {
    app: Arc<App>,
    router: Router<Arc<App>>,
    entries: Vec<(Method, &'static str, Access)>,
    pages: BTreeSet<&'static str>,
}

impl Table {
    fn add<H, T>(mut self, method: Method, path: &'static str, access: Access, handler: H) -> Table
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).expect("a method that routes have");
        let guarded = on(filter, handler).layer(from_fn_with_state((self.app.clone(), access), guard));
        self.router = self.router.route(path, guarded);
        self.entries.push((method, path, access));
        self
    }

    /// A page: whoever has to sign in first, or to set up a second factor, is led there.
    pub(crate) fn page<H: Handler<T, Arc<App>>, T: 'static>(
        mut self,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Table {
        self.router = self.router.route(path, get(handler).layer(from_fn_with_state((self.app.clone(), access), lead)));
        self.entries.push((Method::GET, path, access));
        self.pages.insert(path);
        self
    }

    /// What a form of a page sends.
    pub(crate) fn form<H: Handler<T, Arc<App>>, T: 'static>(
        mut self,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Table {
        self.router =
            self.router.route(path, post(handler).layer(from_fn_with_state((self.app.clone(), access), lead)));
        self.entries.push((Method::POST, path, access));
        self.pages.insert(path);
        self
    }

    fn get<H: Handler<T, Arc<App>>, T: 'static>(self, path: &'static str, access: Access, handler: H) -> Table {
        self.add(Method::GET, path, access, handler)
    }

    fn post<H: Handler<T, Arc<App>>, T: 'static>(self, path: &'static str, access: Access, handler: H) -> Table {
        self.add(Method::POST, path, access, handler)
    }

    fn patch<H: Handler<T, Arc<App>>, T: 'static>(self, path: &'static str, access: Access, handler: H) -> Table {
        self.add(Method::PATCH, path, access, handler)
    }

    fn delete<H: Handler<T, Arc<App>>, T: 'static>(self, path: &'static str, access: Access, handler: H) -> Table {
        self.add(Method::DELETE, path, access, handler)
    }

    /// Method, path and whom it is for, of all of them.
    pub fn entries(&self) -> &[(Method, &'static str, Access)] {
        &self.entries
    }

    /// Whether it is for people.
    pub fn is_page(&self, path: &str) -> bool {
        self.pages.contains(path)
    }

    /// What serves them.
    pub fn router(self) -> Router {
        let health = public::health(self.app.clone()).router();
        self.router.with_state(self.app).nest("/health", health)
    }
}

/// All routes.
pub fn table(app: Arc<App>) -> Table {
    let table = Table { app, router: Router::new(), entries: Vec::new(), pages: BTreeSet::new() };
    let table = public::enter(table);
    let table = signin::enter(table);
    let table = account::enter(table);
    let table = keys::enter(table);
    let table = tokens::enter(table);
    let table = users::enter(table);
    let table = servers::enter(table);
    let table = local::enter(table);
    let table = roles::enter(table);
    // What the document is of comes before it.
    openapi::enter(pages::enter(table))
}

/// A page for a browser that asks for one; else upstream's form of an error: `{"message": TEXT, "code": STATUS}` and further fields.
pub fn error(failure: &Failure<'_>) -> Response {
    if failure.page {
        return pages::error(failure);
    }
    let mut body = Map::new();
    body.insert("message".to_owned(), failure.text.into());
    body.insert("code".to_owned(), failure.status.as_u16().into());
    body.extend(failure.fields.clone());
    body.insert("request_id".to_owned(), failure.request.into());
    ([(header::CONTENT_TYPE, "application/json")], Value::Object(body).to_string()).into_response()
}

/// An answer of JSON.
fn json(body: &Value) -> Answer {
    Ok(([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response())
}
