//! What all pages look like, and the parts of forms.

use std::collections::BTreeSet;

use http::{HeaderValue, StatusCode, header};
use maud::{DOCTYPE, Markup, html};
use web::axum::response::{IntoResponse as _, Response};
use web::{Error, Failure};

use super::form::HAD;
use super::texts::{COOKIE, Texts};
use super::{Page, assets};
use crate::caller::{must_set_up, set_cookie};
use crate::routes::Answer;
use crate::store::now;
use crate::times;

/// Nothing of anybody else's, nothing written into the page that runs, and forms go nowhere else.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'",
);

/// What is wrong with a form: by the field, and in words.
#[derive(Debug, Default)]
pub struct Wrongs {
    status: StatusCode,
    all: Vec<(String, String)>,
}

impl Wrongs {
    /// Why a form was refused.
    ///
    /// # Errors
    /// The error itself, where it is of no field and for no reason that a person could do something about.
    pub fn of(texts: &Texts, error: Error) -> Result<Wrongs, Error> {
        let text = |name: &str| error.field(name).and_then(|value| value.as_str());
        let (field, reason) = (text("bad_field"), text("reason"));
        if field.is_none() && reason.is_none() {
            return Err(error);
        }
        let key = format!("reason.{}", reason.unwrap_or_default());
        let words = match texts.find(&key) {
            Some(_) => {
                let value = |name: &'static str| error.field(name).map(|value| (name, said(value)));
                let names = ["role", "roles", "server", "theirs", "ours", "days", "seconds", "why"];
                let mut values: Vec<(&str, String)> = names.into_iter().filter_map(value).collect();
                let seconds = error.field("seconds").and_then(serde_json::Value::as_u64);
                values.extend(seconds.map(|seconds| ("span", texts.limit(seconds / 60))));
                let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
                texts.f(&key, &values)
            }
            None => error.text().to_owned(),
        };
        Ok(Wrongs { status: error.status(), all: vec![(field.unwrap_or_default().to_owned(), words)] })
    }

    /// One more.
    pub fn add(&mut self, field: &str, words: impl Into<String>) {
        self.status = StatusCode::BAD_REQUEST;
        self.all.push((field.to_owned(), words.into()));
    }

    /// Whether there are any.
    pub fn any(&self) -> bool {
        !self.all.is_empty()
    }

    /// What is wrong with a field.
    pub fn with(&self, field: &str) -> Option<&str> {
        self.all.iter().find(|(name, _)| name == field).map(|(_, words)| words.as_str())
    }

    /// By upstream's ids, where the field of a request is called otherwise.
    pub fn named(mut self, names: &[(&str, &str)]) -> Wrongs {
        for (field, _) in &mut self.all {
            if let Some((_, id)) = names.iter().find(|(name, _)| name == field) {
                *field = (*id).to_owned();
            }
        }
        self
    }
}

fn said(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A field of one line, with what is wrong with it beside.
#[derive(Default)]
pub struct Input<'a> {
    /// Its id, and its name in the form.
    pub id: &'a str,
    /// What is asked.
    pub label: &'a str,
    /// What helps to answer.
    pub hint: &'a str,
    /// HTML's type; `text` where it is empty.
    pub kind: &'a str,
    /// What is in it.
    pub value: &'a str,
    /// What a browser may fill in.
    pub autocomplete: &'a str,
    /// Which keyboard a phone shows.
    pub inputmode: &'a str,
    /// Whether it is a short one.
    pub short: bool,
}

/// What stands beside a field, and what a screen reader is told of it.
fn described(id: &str, hint: &str, wrong: Option<&str>) -> Option<String> {
    let hint = (!hint.is_empty()).then(|| format!("{id}-hint"));
    let wrong = wrong.map(|_| format!("{id}-wrong"));
    let all: Vec<String> = hint.into_iter().chain(wrong).collect();
    (!all.is_empty()).then(|| all.join(" "))
}

fn notes(page: &Page, id: &str, hint: &str, wrong: Option<&str>) -> Markup {
    html! {
        @if !hint.is_empty() { p .hint id={ (id) "-hint" } { (hint) } }
        @if let Some(words) = wrong { p .wrong id={ (id) "-wrong" } { b { (page.t("form.wrong")) } " " (words) } }
    }
}

impl Page {
    /// The page, with what is wrong in it on top.
    pub fn show_with(&self, title: &str, wrongs: &Wrongs, body: Markup) -> Answer {
        let user = self.user().ok().filter(|user| !must_set_up(user));
        let is_admin = user.is_some_and(|user| user.is_admin);
        let done = self.query("done").map(|key| format!("done.{key}"));
        let done = done.as_deref().and_then(|key| self.texts.find(key));
        let top = html! {
            @if let Some(done) = done { p .done role="status" { (done) } }
            @if wrongs.any() {
                div #error-dialog .wrongs role="alert" tabindex="-1" data-focus {
                    h2 { (self.t("form.problem")) }
                    ul #error-dialog-description {
                        @for (field, words) in &wrongs.all {
                            li { @if field.is_empty() { (words) } @else { a href={ "#" (field) } { (words) } } }
                        }
                    }
                }
            }
            h1 { (title) }
        };
        let nav = html! {
            @if user.is_some() {
                nav aria-label=(self.t("nav.label")) {
                    ul {
                        li { (self.link("/", "", self.t("nav.servers"))) }
                        @if is_admin {
                            li { (self.link("/manage/users", "user_list", self.t("nav.users"))) }
                            li { (self.link("/manage/servers", "server_list", self.t("nav.all-servers"))) }
                            li { (self.link("/manage/roles", "role_admin", self.t("nav.roles"))) }
                            li { (self.link("/manage/tokens", "", self.t("nav.tokens"))) }
                            li { (self.link("/manage/audit", "", self.t("nav.audit"))) }
                            li { (self.link("/manage/key", "public_key", self.t("nav.key"))) }
                            li { (self.link("/manage/deployment", "", self.t("nav.deployment"))) }
                        }
                    }
                }
            }
        };
        let who = html! {
            @if let Ok(user) = self.user() {
                div .who {
                    a #user_details href="/account" title=(self.t("nav.account")) { (user.name) }
                    form method="post" action="/sign-out" {
                        (self.hidden())
                        button #logout .link { (self.t("nav.sign-out")) }
                    }
                }
            }
        };
        let title = match wrongs.any() {
            true => format!("{} {title}", self.t("form.wrong")),
            false => title.to_owned(),
        };
        let place = if is_admin { "admin" } else { "" };
        let text = whole(self.texts, &title, place, self.uri.path(), nav, who, html! { (top) (body) });
        let mut response = answer(&text);
        *response.status_mut() = if wrongs.any() { wrongs.status } else { StatusCode::OK };
        if self.query("lang").as_deref() == Some(self.texts.code) {
            let kept = format!("{COOKIE}={}; Path=/; Secure; SameSite=Lax; Max-Age=31536000", self.texts.code);
            set_cookie(response.headers_mut(), &kept);
        }
        Ok(response)
    }

    /// A link of the navigation, which says where one is.
    fn link(&self, path: &str, id: &str, text: &str) -> Markup {
        let here = self.uri.path();
        let own = here == path || path != "/" && here.starts_with(path) || path == "/" && here.starts_with("/my");
        html! { a id=[(!id.is_empty()).then_some(id)] href=(path) aria-current=[own.then_some("page")] { (text) } }
    }

    /// What every form sends along.
    pub fn hidden(&self) -> Markup {
        html! { input type="hidden" name="csrf" value=(self.csrf()); }
    }

    /// A field of one line.
    pub fn input(&self, wrongs: &Wrongs, input: &Input<'_>) -> Markup {
        let Input { id, label, hint, kind, value, autocomplete, inputmode, short } = *input;
        let wrong = wrongs.with(id);
        let kind = if kind.is_empty() { "text" } else { kind };
        html! {
            div .field.bad[wrong.is_some()] {
                label for=(id) { (label) }
                (notes(self, id, hint, wrong))
                input #(id) .short[short] name=(id) type=(kind) value=[(kind != "password" && kind != "file").then_some(value)]
                    autocomplete=(if autocomplete.is_empty() { "off" } else { autocomplete })
                    inputmode=[(!inputmode.is_empty()).then_some(inputmode)]
                    spellcheck="false" autocapitalize="none"
                    accept=[(kind == "file").then_some(".json,application/json")]
                    step=[(kind == "datetime-local").then_some("60")]
                    aria-describedby=[described(id, hint, wrong)] aria-invalid=[wrong.map(|_| "true")];
            }
        }
    }

    /// A box to tick.
    pub fn tick(&self, id: &str, name: &str, value: &str, ticked: bool, label: &str, hint: &str) -> Markup {
        html! {
            div .tick {
                input #(id) type="checkbox" name=(name) value=(value) checked[ticked] aria-describedby=[described(id, hint, None)];
                label for=(id) { (label) }
                (notes(self, id, hint, None))
            }
        }
    }

    /// Which boxes were ticked when the page was made ([`Form::moved`]).
    pub fn had(&self, numbers: &BTreeSet<i64>) -> Markup {
        html! { @for number in numbers { input type="hidden" name=(HAD) value=(number); } }
    }

    /// Several boxes under one question.
    pub fn group(&self, wrongs: &Wrongs, id: &str, legend: &str, hint: &str, boxes: Markup) -> Markup {
        let wrong = wrongs.with(id);
        html! {
            fieldset #(id) .field.bad[wrong.is_some()] tabindex="-1" aria-describedby=[described(id, hint, wrong)] {
                legend { (legend) }
                (notes(self, id, hint, wrong))
                (boxes)
            }
        }
    }

    /// A form of one button.
    pub fn button(&self, action: &str, id: &str, kind: &str, text: &str) -> Markup {
        html! {
            form method="post" action=(action) .inline {
                (self.hidden())
                button id=[(!id.is_empty()).then_some(id)] class=(kind) { (text) }
            }
        }
    }

    /// A number with its unit: how long something lasts.
    pub fn lifetime(&self, wrongs: &Wrongs, id: &str, label: &str, hint: &str, minutes: Option<i64>) -> Markup {
        let (number, unit) = minutes.map_or((String::new(), 60), |minutes| {
            let unit = [1440, 60].into_iter().find(|unit| minutes % unit == 0).unwrap_or(1);
            ((minutes / unit).to_string(), unit)
        });
        let wrong = wrongs.with(id);
        html! {
            div .field.bad[wrong.is_some()] {
                label for=(id) { (label) }
                (notes(self, id, hint, wrong))
                div .pair {
                    input #(id) .short name=(id) type="text" inputmode="numeric" value=(number) autocomplete="off"
                        aria-describedby=[described(id, hint, wrong)] aria-invalid=[wrong.map(|_| "true")];
                    select name={ (id) "-unit" } aria-label={ (label) ": " (self.t("form.unit")) } {
                        @for (value, text) in [(1, self.t("time.minutes")), (60, self.t("time.hours")), (1440, self.t("time.days"))] {
                            option value=(value) selected[value == unit] { (text) }
                        }
                    }
                }
            }
        }
    }

    /// A moment.
    pub fn time(&self, seconds: i64) -> Markup {
        let iso = times::iso(seconds);
        let (day, time) = (iso.get(..10).unwrap_or_default(), iso.get(11..16).unwrap_or_default());
        html! { time datetime=(iso) { (day) " " (time) " UTC" } }
    }

    /// A moment and how far it is.
    pub fn until(&self, seconds: i64) -> Markup {
        let minutes = (seconds - now()).unsigned_abs() / 60;
        let span = self.span(minutes);
        let distance = match (minutes, seconds > now()) {
            (0, _) => self.t("time.now").to_owned(),
            (_, true) => self.f("time.in", &[("span", &span)]),
            (_, false) => self.f("time.ago", &[("span", &span)]),
        };
        html! { (self.time(seconds)) " (" (distance) ")" }
    }

    /// How long something lasts, in the largest unit that says it well.
    pub fn span(&self, minutes: u64) -> String {
        self.texts.span(minutes)
    }

    /// How long something lasts, as it was said.
    pub fn limit(&self, minutes: i64) -> String {
        self.texts.limit(minutes.unsigned_abs())
    }
}

fn whole(texts: &Texts, title: &str, place: &str, path: &str, nav: Markup, who: Markup, main: Markup) -> String {
    let product = texts.t("layout.product");
    let page = html! {
        (DOCTYPE)
        html lang=(texts.code) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " – " (product) }
                link rel="icon" href=(assets::ICON.path());
                link rel="stylesheet" href=(assets::STYLE.path());
                script src=(assets::SCRIPT.path()) defer {}
            }
            body class=(place) {
                a .skip href="#main" { (texts.t("layout.skip")) }
                header {
                    div .wide {
                        a .product href="/" { (product) @if !place.is_empty() { " " span .mode { (texts.t("layout.admin")) } } }
                        (who)
                    }
                    (nav)
                }
                main #main { (main) }
                footer {
                    div .wide {
                        span #flowauth_version { (product) " v" (env!("CARGO_PKG_VERSION")) }
                        span .languages {
                            @for other in Texts::all() {
                                @if other.code == texts.code {
                                    span lang=(other.code) { (other.t("language.name")) }
                                } @else {
                                    a lang=(other.code) hreflang=(other.code) href={ (path) "?lang=" (other.code) } { (other.t("language.name")) }
                                }
                            }
                        }
                    }
                }
            }
        }
    };
    page.into_string()
}

fn answer(text: &str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    (headers, text.to_owned()).into_response()
}

/// The page of an error, in the language that the browser wants.
pub fn error(failure: &Failure<'_>) -> Response {
    let texts = Texts::wanted(failure.headers);
    let key = format!("status.{}", failure.status.as_u16());
    let reason = failure.fields.get("reason").and_then(|reason| reason.as_str());
    let reason = reason.and_then(|reason| texts.find(&format!("reason.{reason}")));
    let words = match failure.fields.contains_key("csrf") {
        true => texts.t("error.forged"),
        false => texts.find(&key).or(reason).unwrap_or(texts.t("error.other")),
    };
    let main = html! {
        h1 { (texts.t("error.title")) }
        p { (words) }
        p { a href="/" { (texts.t("error.home")) } }
        p .hint { (texts.f("error.request", &[("id", failure.request)])) }
    };
    answer(&whole(texts, texts.t("error.title"), "", "/", html! {}, html! {}, main))
}
