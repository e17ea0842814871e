//! What the pages say: one file a language. Another language is another file and its line here.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use http::{HeaderMap, header};

use crate::caller::cookie;

/// The cookie that remembers the language.
pub const COOKIE: &str = "lang";

/// Every language, the first for whoever wants none of them.
const FILES: &[(&str, &str)] = &[("en", include_str!("texts/en.toml")), ("fr", include_str!("texts/fr.toml"))];

static ALL: LazyLock<Vec<Texts>> = LazyLock::new(|| {
    let read = |(code, text): &(&'static str, &str)| {
        let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("texts/{code}.toml: {error}"));
        let mut texts = BTreeMap::new();
        for (part, keys) in &table {
            for (key, text) in keys.as_table().into_iter().flatten() {
                texts.insert(format!("{part}.{key}"), text.as_str().unwrap_or_default().to_owned());
            }
        }
        Texts { code, texts }
    };
    FILES.iter().map(read).collect()
});

/// The texts of one language.
#[derive(Debug)]
pub struct Texts {
    /// Its code, as in HTML.
    pub code: &'static str,
    texts: BTreeMap<String, String>,
}

impl Texts {
    /// Every language.
    pub fn all() -> &'static [Texts] {
        &ALL
    }

    /// The one with this code.
    pub fn of(code: &str) -> Option<&'static Texts> {
        ALL.iter().find(|texts| texts.code == code)
    }

    /// The one that a browser wants: by its cookie, else by its settings.
    pub fn wanted(headers: &HeaderMap) -> &'static Texts {
        let accepted = || {
            let accepted = headers.get(header::ACCEPT_LANGUAGE)?.to_str().ok()?;
            let mut best: Option<(f32, &Texts)> = None;
            for part in accepted.split(',') {
                let (tag, weight) = part.split_once(';').unwrap_or((part, "q=1"));
                let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse().ok()).unwrap_or(0.0);
                let code = tag.trim().split('-').next().unwrap_or_default();
                if let Some(texts) = Texts::of(code).filter(|_| weight > best.map_or(0.0, |(weight, _)| weight)) {
                    best = Some((weight, texts));
                }
            }
            best.map(|(_, texts)| texts)
        };
        cookie(headers, COOKIE).and_then(Texts::of).or_else(accepted).unwrap_or(&ALL[0])
    }

    /// A text, if there is one of this name.
    pub fn find(&self, key: &str) -> Option<&str> {
        self.texts.get(key).map(String::as_str)
    }

    /// A text. A test holds the names in the code against every language.
    pub fn t<'a>(&'a self, key: &'a str) -> &'a str {
        self.find(key).unwrap_or(key)
    }

    /// A text with values where their names stand in it.
    pub fn f(&self, key: &str, values: &[(&str, &str)]) -> String {
        let mut text = self.t(key).to_owned();
        for (name, value) in values {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        text
    }

    /// How long something lasts, in the largest unit that says it well.
    pub fn span(&self, minutes: u64) -> String {
        match minutes {
            0..120 => self.n("time.minute", minutes),
            120..2880 if minutes.is_multiple_of(60) || minutes > 600 => self.n("time.hour", minutes / 60),
            120..2880 => format!("{} {}", self.n("time.hour", minutes / 60), self.n("time.minute", minutes % 60)),
            _ => self.n("time.day", minutes / 1440),
        }
    }

    /// How long something lasts, as it was said.
    pub fn limit(&self, minutes: u64) -> String {
        match minutes {
            0..60 => self.n("time.minute", minutes),
            _ if minutes.is_multiple_of(1440) => self.n("time.day", minutes / 1440),
            _ if minutes.is_multiple_of(60) => self.n("time.hour", minutes / 60),
            _ => self.n("time.minute", minutes),
        }
    }

    /// A text for a number of things: `KEY-one` or `KEY-more`.
    pub fn n(&self, key: &str, number: u64) -> String {
        let one = number == 1 || number == 0 && self.t("language.zero") == "one";
        let key = format!("{key}-{}", if one { "one" } else { "more" });
        self.f(&key, &[("n", &number.to_string())])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Every name of a text in the code. Names are always written whole, as the first thing in a call.
    fn named(dir: &Path, names: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                named(&path, names);
            } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("texts.rs") {
                let code = std::fs::read_to_string(&path).unwrap();
                let mut collect = |before: &str, prefix: &str, suffixes: &[&str]| {
                    for rest in code.split(before).skip(1) {
                        let name = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
                        for suffix in suffixes {
                            names.extend(name.map(|name| format!("{prefix}{name}{suffix}")));
                        }
                    }
                };
                collect(".t(", "", &[""]);
                collect(".f(", "", &[""]);
                collect(".n(", "", &["-one", "-more"]);
                collect("wrong_as(", "reason.", &[""]);
                collect("with(\"reason\",", "reason.", &[""]);
                collect(".does(", "action.", &[""]);
                collect(".done(", "done.", &[""]);
            }
        }
    }

    #[test]
    fn every_language_has_every_text_that_the_code_names_and_no_other() {
        let mut names = BTreeSet::new();
        named(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut names);
        // Named by what they are about.
        names.extend(["action.token.mint", "action.token.renew", "language.zero"].map(str::to_owned));
        names.extend(
            ["minute", "hour", "day"].iter().flat_map(|unit| ["one", "more"].map(|n| format!("time.{unit}-{n}"))),
        );
        names.extend([400, 403, 404, 413, 429, 503].map(|status| format!("status.{status}")));
        names.extend((0..=4).map(|score| format!("strength.{score}")));
        for texts in Texts::all() {
            let has: BTreeSet<String> = texts.texts.keys().cloned().collect();
            let lacks: Vec<_> = names.difference(&has).collect();
            let unused: Vec<_> = has.difference(&names).collect();
            assert!(lacks.is_empty() && unused.is_empty(), "{}: lacks {lacks:#?}, unused {unused:#?}", texts.code);
        }
    }

    #[test]
    fn every_language_has_the_same_values_in_the_same_texts() {
        let values = |text: &str| -> BTreeSet<String> {
            text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0.to_owned())).collect()
        };
        let [first, others @ ..] = Texts::all() else { panic!("no language") };
        for (key, text) in &first.texts {
            for other in others {
                assert_eq!(values(text), values(other.t(key)), "{key} in {}", other.code);
            }
        }
    }

    #[test]
    fn a_browser_is_given_the_language_that_it_wants_most() {
        for (cookie, accepted, expected) in [
            ("", "", "en"),
            ("", "fr-CH, fr;q=0.9, en;q=0.8", "fr"),
            ("", "de, en;q=0.5, fr;q=0.7", "fr"),
            ("", "fr;q=0, de", "en"),
            ("lang=fr", "en", "fr"),
            ("lang=xx", "fr", "fr"),
        ] {
            let headers = [(header::COOKIE, cookie), (header::ACCEPT_LANGUAGE, accepted)];
            let headers = headers.into_iter().map(|(name, value)| (name, value.parse().unwrap())).collect();
            assert_eq!(Texts::wanted(&headers).code, expected, "{cookie} {accepted}");
        }
    }
}
