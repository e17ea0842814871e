//! `flowkit completions`: what a shell needs to complete our commands.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Failure};

/// Print the completions for a shell
///
/// For bash: flowkit completions bash > /usr/share/bash-completion/completions/flowkit
#[derive(Args)]
pub struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    pub fn run(self) -> Result<ExitCode, Failure> {
        // Written at once: the generator panics when its reader is gone.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "flowkit", &mut script);
        say::product(&script);
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_name_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "flowkit", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("secrets") && script.contains("rotate") && script.contains("tune"), "{shell}");
        }
    }
}
