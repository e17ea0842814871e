//! What a container is told when it runs: the `config` object of an image's configuration, of which each key has its type.
//! <https://github.com/opencontainers/image-spec/blob/main/config.md>
//!
//! Engines read it into typed fields and refuse the whole image where a type is another one.

use serde_json::{Map, Value};

/// Processors, in Go's words.
const ARCHITECTURES: &[&str] = &[
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64",
    "s390x", "wasm",
];
/// What others call them.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("aarch64", "arm64"),
    ("x86_64", "amd64"),
    ("x64", "amd64"),
    ("i386", "386"),
    ("i686", "386"),
    ("x86", "386"),
    ("armv7l", "arm"),
    ("armhf", "arm"),
    ("loongarch64", "loong64"),
    ("powerpc64le", "ppc64le"),
];
/// Operating systems, in Go's words, that there are images of.
const SYSTEMS: &[&str] = &["linux", "windows", "freebsd", "darwin", "wasip1"];

/// What a value has to be.
#[derive(Clone, Copy)]
enum Shape {
    Flag,
    Number,
    Text,
    Texts,
    /// Texts of the form `NAME=VALUE`.
    Variables,
    /// An object of texts.
    Labels,
    /// An object with a path for each key.
    Paths,
    /// An object with `PORT/PROTOCOL` for each key.
    Ports,
    Healthcheck,
}

/// Every key that an engine knows, those of OCI first.
const KEYS: &[(&str, Shape)] = &[
    ("User", Shape::Text),
    ("ExposedPorts", Shape::Ports),
    ("Env", Shape::Variables),
    ("Entrypoint", Shape::Texts),
    ("Cmd", Shape::Texts),
    ("Volumes", Shape::Paths),
    ("WorkingDir", Shape::Text),
    ("Labels", Shape::Labels),
    ("StopSignal", Shape::Text),
    ("ArgsEscaped", Shape::Flag),
    ("Memory", Shape::Number),
    ("MemorySwap", Shape::Number),
    ("CpuShares", Shape::Number),
    ("Healthcheck", Shape::Healthcheck),
    ("Shell", Shape::Texts),
    ("OnBuild", Shape::Texts),
    ("StopTimeout", Shape::Number),
    ("Hostname", Shape::Text),
    ("Domainname", Shape::Text),
    ("Image", Shape::Text),
    ("MacAddress", Shape::Text),
    ("NetworkDisabled", Shape::Flag),
    ("AttachStdin", Shape::Flag),
    ("AttachStdout", Shape::Flag),
    ("AttachStderr", Shape::Flag),
    ("Tty", Shape::Flag),
    ("OpenStdin", Shape::Flag),
    ("StdinOnce", Shape::Flag),
];

/// Of a health check: durations are nanoseconds.
const HEALTHCHECK: &[(&str, Shape)] = &[
    ("Test", Shape::Texts),
    ("Interval", Shape::Number),
    ("Timeout", Shape::Number),
    ("StartPeriod", Shape::Number),
    ("StartInterval", Shape::Number),
    ("Retries", Shape::Number),
];

/// What is wrong with a `config` object; `strict`: also keys that no engine knows, which somebody mistyped.
pub fn config_problems(config: &Map<String, Value>, strict: bool) -> Vec<String> {
    object("config", config, KEYS, strict)
}

/// What is wrong with the words for a processor and an operating system.
pub fn platform_problems(architecture: &str, os: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if !ARCHITECTURES.contains(&architecture) {
        let known = OTHER_WORDS.iter().find(|(other, _)| *other == architecture);
        let hint = known.map_or_else(|| "such as amd64 and arm64".to_owned(), |(_, word)| format!("which is {word}"));
        problems
            .push(format!("architecture: `{}` is not Go's word for a processor, {hint}", architecture.escape_debug()));
    }
    if !SYSTEMS.contains(&os) {
        problems.push(format!("os: `{}` is not Go's word for an operating system, such as linux", os.escape_debug()));
    }
    problems
}

fn object(place: &str, object: &Map<String, Value>, keys: &[(&str, Shape)], strict: bool) -> Vec<String> {
    let mut problems = Vec::new();
    for (key, value) in object {
        let place = format!("{place}.{}", key.escape_debug());
        match keys.iter().find(|(known, _)| known == key) {
            Some((_, shape)) => problems.extend(shape.problem(&place, value, strict)),
            None if strict => problems.push(format!("{place}: no engine knows this key")),
            None => {}
        }
    }
    problems
}

impl Shape {
    /// What is wrong with a value. Go reads `null` as an empty value of any type.
    fn problem(self, place: &str, value: &Value, strict: bool) -> Vec<String> {
        if value.is_null() {
            return Vec::new();
        }
        if let (Shape::Healthcheck, Value::Object(check)) = (self, value) {
            let mut problems = object(place, check, HEALTHCHECK, strict);
            problems.extend(first_word(place, check));
            return problems;
        }
        if self.fits(value) { Vec::new() } else { vec![format!("{place}: {} is not {}", shown(value), self.words())] }
    }

    fn fits(self, value: &Value) -> bool {
        let all = |ok: &dyn Fn(&str) -> bool| {
            value.as_array().is_some_and(|all| all.iter().all(|one| one.as_str().is_some_and(ok)))
        };
        let keys = |ok: &dyn Fn(&str) -> bool| {
            let empty = |value: &Value| value.as_object().is_some_and(Map::is_empty);
            value.as_object().is_some_and(|all| all.iter().all(|(key, value)| ok(key) && empty(value)))
        };
        match self {
            Shape::Flag => value.is_boolean(),
            Shape::Number => value.is_i64(),
            Shape::Text => value.is_string(),
            Shape::Texts => all(&|_| true),
            Shape::Variables => all(&|text| text.find('=').is_some_and(|at| at > 0)),
            Shape::Labels => value.as_object().is_some_and(|all| all.values().all(Value::is_string)),
            Shape::Paths => keys(&|path| path.starts_with('/')),
            Shape::Ports => keys(&is_port),
            Shape::Healthcheck => value.is_object(),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Shape::Flag => "true or false",
            Shape::Number => "a whole number",
            Shape::Text => "a text",
            Shape::Texts => "a list of texts",
            Shape::Variables => "a list of NAME=VALUE",
            Shape::Labels => "an object of texts",
            Shape::Paths => "an object with an absolute path for each key and {} for each value",
            Shape::Ports => "an object with PORT/tcp or PORT/udp for each key and {} for each value",
            Shape::Healthcheck => "an object with Test, Interval (nanoseconds) and so on",
        }
    }
}

/// The first word of a test says how it is run.
fn first_word(place: &str, check: &Map<String, Value>) -> Option<String> {
    let first = check.get("Test")?.as_array()?.first()?.as_str()?;
    let known = matches!(first, "" | "NONE" | "CMD" | "CMD-SHELL");
    (!known).then(|| format!("{place}.Test: `{}` is not NONE, CMD or CMD-SHELL", first.escape_debug()))
}

/// `5432`, `5432/tcp`, also a range.
fn is_port(text: &str) -> bool {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let number = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    number(first) && number(last) && matches!(protocol, "tcp" | "udp" | "sctp")
}

/// The beginning of a value.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    let short: String = text.chars().take(60).collect();
    if short.len() < text.len() { format!("`{short}…`") } else { format!("`{text}`") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(config: Value, strict: bool) -> Vec<String> {
        config_problems(config.as_object().unwrap(), strict)
    }

    #[test]
    fn every_type_is_checked() {
        for (config, expected) in [
            (json!({ "Env": { "A": "b" } }), "config.Env: `{\"A\":\"b\"}` is not a list of NAME=VALUE"),
            (json!({ "Env": ["A"] }), "config.Env: `[\"A\"]` is not a list of NAME=VALUE"),
            (
                json!({ "ExposedPorts": ["80/tcp"] }),
                "config.ExposedPorts: `[\"80/tcp\"]` is not an object with PORT/tcp or PORT/udp for each key and {} for each value",
            ),
            (json!({ "User": 1000 }), "config.User: `1000` is not a text"),
            (
                json!({ "Healthcheck": "10s" }),
                "config.Healthcheck: `\"10s\"` is not an object with Test, Interval (nanoseconds) and so on",
            ),
            (
                json!({ "Healthcheck": { "Interval": "10s" } }),
                "config.Healthcheck.Interval: `\"10s\"` is not a whole number",
            ),
            (
                json!({ "Healthcheck": { "Test": ["true"] } }),
                "config.Healthcheck.Test: `true` is not NONE, CMD or CMD-SHELL",
            ),
            (json!({ "Cmd": "sh" }), "config.Cmd: `\"sh\"` is not a list of texts"),
            (json!({ "Labels": { "a": 1 } }), "config.Labels: `{\"a\":1}` is not an object of texts"),
            (json!({ "StopTimeout": 1.5 }), "config.StopTimeout: `1.5` is not a whole number"),
        ] {
            assert_eq!(problems(config, false), [expected]);
        }
        let good = json!({
            "Env": ["A=", "PATH=/bin"], "ExposedPorts": { "5432/tcp": {}, "53": {}, "1-2/udp": {} }, "User": "1000:1000",
            "Volumes": { "/data": {} }, "Cmd": null, "Healthcheck": { "Test": ["CMD", "true"], "Interval": 1_000_000_000 },
        });
        assert_eq!(problems(good, true), [""; 0]);
        assert_eq!(problems(json!({ "Entrypiont": [] }), true), ["config.Entrypiont: no engine knows this key"]);
        assert_eq!(problems(json!({ "io.example": 1 }), false), [""; 0]);
    }

    #[test]
    fn platforms_are_gos_words() {
        assert_eq!(platform_problems("arm64", "linux"), [""; 0]);
        assert_eq!(
            platform_problems("aarch64", "Linux"),
            [
                "architecture: `aarch64` is not Go's word for a processor, which is arm64",
                "os: `Linux` is not Go's word for an operating system, such as linux"
            ]
        );
    }
}
