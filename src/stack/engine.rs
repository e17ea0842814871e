//! The `docker` command: what is asked of an engine, and what goes wrong.
//!
//! The command instead of the engine's socket: it knows the user's contexts, hosts and certificates, and people can repeat
//! what we do. Values of secrets go through its standard input, never its arguments.

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;

/// The oldest engine whose Swarm drops capabilities and runs jobs.
const OLDEST: (u32, u32) = (20, 10);

/// Why an engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no command.
    #[error("the command `docker` is not there; install Docker {}.{} or later", OLDEST.0, OLDEST.1)]
    NotInstalled,
    /// It could not be started.
    #[error("cannot run `docker`")]
    Run(#[source] std::io::Error),
    /// It says no.
    #[error("`docker {did}` failed: {said}")]
    Failed {
        /// The beginning of what was asked.
        did: String,
        /// Its own last words.
        said: String,
    },
    /// An answer that is not what its documentation says.
    #[error("`docker {did}` gave an answer that is not understood: {answer}")]
    Answer {
        /// The beginning of what was asked.
        did: String,
        /// The beginning of the answer.
        answer: String,
    },
    /// It is too old.
    #[error("the Docker engine is {found}; Swarm stacks of FlowKit need {}.{} or later", OLDEST.0, OLDEST.1)]
    TooOld {
        /// Its version.
        found: String,
    },
}

impl Error {
    /// Whether the engine's words contain all of these.
    pub(super) fn says(&self, words: &[&str]) -> bool {
        matches!(self, Error::Failed { said, .. } if words.iter().all(|word| said.contains(word)))
    }
}

/// An engine, as the user's environment names it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Docker;

impl Docker {
    /// An engine that answers and is not too old.
    ///
    /// # Errors
    /// No command, no engine, no permission, an old engine.
    pub fn connect() -> Result<Docker, Error> {
        let version = Docker.ask(&["version", "--format", "{{.Server.Version}}"])?;
        let mut numbers = version.trim().split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if found < OLDEST { Err(Error::TooOld { found: version.trim().to_owned() }) } else { Ok(Docker) }
    }

    /// Runs `docker` and gives what it prints.
    pub(super) fn ask(&self, args: &[&str]) -> Result<String, Error> {
        self.tell(args, &[])
    }

    /// The same with something on its standard input.
    pub(super) fn tell(&self, args: &[&str], input: &[u8]) -> Result<String, Error> {
        let mut command = Command::new("docker");
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::NotInstalled,
            _ => Error::Run(error),
        })?;
        // It may end without having read it all; then it says why.
        let mut stdin = child.stdin.take().expect("it is piped");
        let write = std::thread::scope(|scope| {
            let writer = scope.spawn(move || stdin.write_all(input));
            let output = child.wait_with_output();
            (writer.join(), output)
        });
        let output = write.1.map_err(Error::Run)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Error::Failed { did: beginning(args), said: last_words(&output.stderr) })
    }

    /// An answer of one JSON value.
    pub(super) fn json<T: DeserializeOwned>(&self, args: &[&str]) -> Result<T, Error> {
        let text = self.ask(args)?;
        serde_json::from_str(&text)
            .map_err(|_| Error::Answer { did: beginning(args), answer: text.chars().take(200).collect() })
    }

    /// An answer of lines.
    pub(super) fn lines(&self, args: &[&str]) -> Result<Vec<String>, Error> {
        Ok(self.ask(args)?.lines().map(str::to_owned).collect())
    }

    /// Both streams of a command whose output is for people; empty when it can't be had.
    pub(super) fn talk(&self, args: &[&str]) -> (String, String) {
        match Command::new("docker").args(args).stdin(Stdio::null()).output() {
            Ok(output) => (
                String::from_utf8_lossy(&output.stdout).into_owned(),
                String::from_utf8_lossy(&output.stderr).into_owned(),
            ),
            Err(_) => Default::default(),
        }
    }
}

/// `secret create`, without what follows.
fn beginning(args: &[&str]) -> String {
    args.iter().take_while(|arg| !arg.starts_with('-')).take(3).copied().collect::<Vec<_>>().join(" ")
}

/// What it said last, without the tip that it adds.
fn last_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let said = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("See 'docker"));
    let said: Vec<&str> = said.collect();
    said[said.len().saturating_sub(3)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_command_and_no_arguments() {
        assert_eq!(beginning(&["secret", "create", "--label", "a=b", "NAME", "-"]), "secret create");
        assert_eq!(
            last_words(b"\nError: no such thing\n\nSee 'docker secret create --help'.\n"),
            "Error: no such thing"
        );
    }
}
