//! Whether a text is a value of a setting, and what it becomes.

use std::net::IpAddr;

use super::{Setting, Type};
use crate::size;

/// Why a text is not a value of a setting: what is accepted instead, as the end of "give ...".
#[derive(Debug, PartialEq, Eq)]
pub struct Fault(pub String);

/// Values end up in configuration files of other programs, where a line break would start another setting.
///
/// # Errors
/// There is something in it that is not seen.
pub fn one_line(text: &str) -> Result<(), Fault> {
    if text.chars().any(say::is_unseen) { Err(Fault("one line without control characters".into())) } else { Ok(()) }
}

impl Setting {
    /// The text in its plain form: trimmed, flags as `true` or `false`, choices in their own case, sizes in bytes.
    /// `None` when it means that nothing is given.
    pub fn check(&self, text: &str) -> Result<Option<String>, Fault> {
        let text = text.trim();
        if text.is_empty() || self.unset.iter().any(|word| word.eq_ignore_ascii_case(text)) {
            return Ok(None);
        }
        one_line(text)?;
        if text.contains(char::REPLACEMENT_CHARACTER) {
            return Err(Fault("text in UTF-8".into()));
        }
        self.plain(text).map(Some)
    }

    fn plain(&self, text: &str) -> Result<String, Fault> {
        let fault = |accepted: &str| Fault(accepted.to_string());
        match self.r#type {
            Type::Text => Ok(text.to_string()),
            Type::Integer => self.bounded(text.parse().ok(), "a whole number"),
            Type::Seconds => self.bounded(text.parse().ok(), "a whole number of seconds"),
            Type::Bytes => self
                .bounded(size::parse(text).and_then(|bytes| i64::try_from(bytes).ok()), "a size such as 512MB or 16GB"),
            Type::Number => self.number(text),
            Type::Port => match text.parse::<u16>() {
                Ok(port) if port > 0 => Ok(port.to_string()),
                _ => Err(fault("a port number from 1 to 65535")),
            },
            Type::Flag => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Ok("true".into()),
                "false" | "no" | "off" | "0" => Ok("false".into()),
                _ => Err(fault("true or false")),
            },
            Type::Path if text.starts_with('/') => Ok(text.to_string()),
            Type::Path => Err(fault("a path that begins with /")),
            Type::Host if is_host(text) => Ok(text.to_string()),
            Type::Host => Err(fault("a host name or an IP address, without a port")),
            Type::Address => {
                text.parse::<IpAddr>().map(|ip| ip.to_string()).map_err(|_| fault("an IP address such as 127.0.0.1"))
            }
            Type::Url if is_url(text) => Ok(text.to_string()),
            Type::Url => Err(fault("an address such as scheme://host:port/path")),
            Type::Choice => match self.choices.iter().find(|choice| choice.eq_ignore_ascii_case(text)) {
                Some(choice) => Ok(choice.clone()),
                None if self.choices.len() == 1 => Err(Fault(format!("{}, nothing else works", self.choices[0]))),
                None => Err(Fault(format!("one of {}", self.choices.join(", ")))),
            },
        }
    }

    fn bounded(&self, value: Option<i64>, what: &str) -> Result<String, Fault> {
        let low = self.min.unwrap_or(i64::MIN);
        let high = self.max.unwrap_or(i64::MAX);
        match value {
            Some(value) if (low..=high).contains(&value) => Ok(value.to_string()),
            _ => Err(Fault(match (self.min.map(|low| self.shown(low)), self.max.map(|high| self.shown(high))) {
                (None, None) => what.to_string(),
                (Some(low), None) => format!("{what}, at least {low}"),
                (None, Some(high)) => format!("{what}, at most {high}"),
                (Some(low), Some(high)) => format!("{what} from {low} to {high}"),
            })),
        }
    }

    /// A limit, for people.
    pub(super) fn shown(&self, limit: i64) -> String {
        match u64::try_from(limit) {
            Ok(bytes) if self.r#type == Type::Bytes && bytes >> 10 > 0 => size::exact(bytes),
            _ => limit.to_string(),
        }
    }

    fn number(&self, text: &str) -> Result<String, Fault> {
        let above = self.above.map_or(f64::NEG_INFINITY, |above| above as f64);
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() && value > above => Ok(value.to_string()),
            _ => Err(Fault(match self.above {
                Some(above) => format!("a number greater than {above}"),
                None => "a number".to_string(),
            })),
        }
    }
}

/// What a resolver may be asked for; brackets, ports, slashes, quotes and spaces are not.
fn is_host(text: &str) -> bool {
    let name = |text: &str| {
        text.len() <= 253 && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
    };
    text.parse::<IpAddr>().is_ok() || name(text)
}

fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
            && !rest.is_empty()
            && !rest.contains(char::is_whitespace)
    })
}
