//! How a command, or a step of a service, ends badly: the one place that knows exit codes and prints causes.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// Why a command ends badly.
#[derive(Debug)]
pub enum Failure {
    /// The user's mistake: nothing was started or changed. Exit status 2.
    Mistake(Box<dyn Error>),
    /// Something that should have worked did not. Exit status 1.
    Failed(Box<dyn Error>),
}

impl Failure {
    /// A mistake of the user's.
    pub fn mistake(error: impl Into<Box<dyn Error>>) -> Failure {
        Failure::Mistake(error.into())
    }

    /// The process's exit status.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Mistake(_) => 2,
            Failure::Failed(_) => 1,
        })
    }
}

/// Whatever rises through `?` without having been called a mistake is a failure.
impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Failed(Box::new(error))
    }
}

/// The whole chain, one cause a line; errors themselves never repeat their source.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failure::Mistake(error) | Failure::Failed(error)) = self;
        writeln!(f, "flowkit: {error}")?;
        let mut cause = error.source();
        while let Some(error) = cause {
            writeln!(f, "  because: {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the settings")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn the_chain_is_printed_once_each() {
        let failure = Failure::from(Outer(std::io::Error::other("disk on fire")));
        assert_eq!(failure.to_string(), "flowkit: cannot read the settings\n  because: disk on fire\n");
    }
}
