//! What is wrong with what the operator gave, for people.

use std::fmt;

/// One thing that is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The thing and what is wrong with it: `FLOWDB_PORT is not a port number`.
    pub what: String,
    /// The value that was given. Never a secret's.
    pub value: Option<String>,
    /// Where it was given.
    pub origin: Option<String>,
    /// What to do.
    pub hint: String,
}

impl Problem {
    /// A problem without a value, such as a missing thing.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Problem {
        Problem { what: what.into(), value: None, origin: None, hint: hint.into() }
    }

    /// The value that was given, to be shown.
    pub fn value(self, value: impl Into<String>) -> Problem {
        Problem { value: Some(value.into()), ..self }
    }

    /// Where it was given.
    pub fn origin(self, origin: impl fmt::Display) -> Problem {
        Problem { origin: Some(origin.to_string()), ..self }
    }
}

/// One line: `FLOWDB_PORT is wrong: "http" (environment); give a port number from 1 to 65535`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(value) = &self.value {
            write!(f, ": {value:?}")?;
        }
        if let Some(origin) = &self.origin {
            write!(f, " ({origin})")?;
        }
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// All that is wrong, in one report. A user's mistake: exit status 2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// The value, unless something is wrong.
    pub fn or<T>(self, value: T) -> Result<T, Problems> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

/// One problem a line; several have a line above them that counts them.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => one.fmt(f),
            many => {
                write!(f, "{} things are wrong", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Problems {
        Problems(vec![problem])
    }
}
