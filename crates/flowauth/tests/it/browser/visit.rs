//! What is looked at on every page that a person comes by.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::driver::Chromium;
use crate::rig::PASSWORD;

/// What `scripts/setup.sh --tests` has brought.
const AXE: &str = "lib/flowkit/axe/axe.min.js";

/// The most that a page may weigh with all that it loads, in bytes, before any compression.
const HEAVIEST: u64 = 100_000;

/// A person before a browser, and what was seen on the way.
pub struct Visit<'a> {
    pub chromium: &'a Chromium,
    pub origin: String,
    pub pictures: PathBuf,
    pub weights: Vec<String>,
    pub wrong: Vec<String>,
}

impl Visit<'_> {
    pub async fn open(&self, path: &str) {
        self.chromium.open(&format!("{}{path}", self.origin)).await;
    }

    /// Looks at the page from all sides.
    pub async fn look(&mut self, name: &str) {
        let chromium = self.chromium;
        let weight = chromium
            .run(
                "return [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
                    .filter((entry) => !entry.name.includes('favicon')).reduce((sum, entry) => sum + entry.decodedBodySize, 0)",
            )
            .await
            .unwrap();
        if weight.as_f64().is_none_or(|weight| weight > HEAVIEST as f64 || weight < 1000.0) {
            self.wrong.push(format!("{name}: weighs {weight} bytes"));
        }
        self.weights.push(format!("{name}\t{weight}\n"));
        // Light on a phone and dark on a desktop; in the dark only the colours differ.
        let all = json!(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]);
        for (scheme, rules, kind, width) in
            [("light", all, "phone", 390), ("dark", json!(["color-contrast"]), "desktop", 1280)]
        {
            chromium.scheme(scheme).await;
            chromium.width(width).await;
            let found = self.violations(&rules).await;
            self.wrong.extend(found.into_iter().map(|one| format!("{name}, {scheme}: {one}")));
            let wide = chromium.run("return document.documentElement.scrollWidth").await.unwrap();
            if wide.as_u64().is_none_or(|wide| wide > width) {
                self.wrong.push(format!("{name}: {wide} pixels wide on {width}"));
            }
            chromium.picture(&self.pictures.join(format!("{name}-{kind}-{scheme}.png"))).await;
        }
        chromium.scheme("light").await;
    }

    /// What axe finds by these rules.
    async fn violations(&self, rules: &Value) -> Vec<String> {
        let script = format!(
            "const done = arguments[0];
            const told = (one) => one.id + ': ' + one.nodes.map((node) => node.target + ' ' + node.failureSummary).join('; ');
            axe.run(document, {{ resultTypes: ['violations'], runOnly: {rules} }})
                .then((result) => done(result.violations.map(told)), (error) => done([String(error)]))"
        );
        let found = self.chromium.run_later(&script).await;
        found.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
    }

    /// A checker that finds nothing has to be one that finds something.
    pub async fn finds_what_is_wrong(&self) {
        let chromium = self.chromium;
        chromium.scheme("dark").await;
        chromium
            .run("const at = document.querySelector('h1'); at.style.color = '#202020'; at.append(new Image())")
            .await
            .unwrap();
        for (rules, name) in [(json!(["wcag2a"]), "image-alt"), (json!(["color-contrast"]), "color-contrast")] {
            let found = self.violations(&rules).await;
            assert!(found.iter().any(|one| one.starts_with(name)), "{name}: {found:?}");
        }
        chromium.scheme("light").await;
    }

    pub async fn sign_in(&self, name: &str) {
        self.open("/sign-in").await;
        self.chromium.fill("#username", name).await;
        self.chromium.fill("#password", PASSWORD).await;
        self.chromium.click("#signin-button").await;
    }

    pub async fn sign_out(&self) {
        self.chromium.click("#logout").await;
        self.chromium.see("Sign in").await;
    }
}

/// Where the accessibility checker is.
pub fn axe() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".local");
    let everybodys = PathBuf::from("/usr/local").join(AXE);
    match std::env::var_os("PREFIX") {
        Some(prefix) => PathBuf::from(prefix).join(AXE),
        None if everybodys.exists() => everybodys,
        None => home().join(AXE),
    }
}
