//! One command of ours run to its end inside of a deployed stack: in its networks, with its secrets.
//!
//! It is a job of the swarm, so secrets reach it as they reach services, and nothing has to be published for it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::engine::{Docker, Error};
use super::parts::{host_of, network_of};
use super::services;
use flowkit_core::catalogue::catalogue;

/// What is run.
pub struct Job<'a> {
    /// The stack.
    pub stack: &'a str,
    /// The role whose image has what the command needs.
    pub image_of: &'a str,
    /// Roles that it speaks to: it is in their networks and has their secrets.
    pub speaks_to: &'a [&'a str],
    /// What follows `flowkit`; the first word names the job.
    pub command: &'a [&'a str],
    /// Longest wait.
    pub patience: Duration,
}

/// What came of it.
pub struct Outcome {
    /// Whether it ended well.
    pub success: bool,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl Job<'_> {
    /// Runs it. Image, secrets and environment are those that the stack's services have now.
    ///
    /// # Errors
    /// The engine's; a command that fails is an [`Outcome`].
    pub fn run(&self, docker: &Docker) -> Result<Outcome, Error> {
        let name = format!("{}_{}", self.stack, self.command[0]);
        // Of an earlier run that was killed.
        let _ = docker.ask(&["service", "rm", &name]);
        let args = self.arguments(docker, &name)?;
        docker.ask(&args.iter().map(String::as_str).collect::<Vec<_>>())?;
        let ended = self.wait(docker, &name);
        let (stdout, mut stderr) = docker.talk(&["service", "logs", "--raw", &name]);
        let removed = docker.ask(&["service", "rm", &name]);
        let why = ended?;
        removed?;
        if let Some(why) = why.as_ref().filter(|_| stderr.is_empty()) {
            stderr.clone_from(why);
        }
        Ok(Outcome { success: why.is_none(), stdout, stderr })
    }

    fn arguments(&self, docker: &Docker, name: &str) -> Result<Vec<String>, Error> {
        let mut args = words(&[
            "service",
            "create",
            "--quiet",
            "--detach",
            "--name",
            name,
            "--mode",
            "replicated-job",
            "--restart-condition",
            "none",
            "--no-healthcheck",
            "--read-only",
            "--cap-drop",
            "ALL",
            "--user",
            "1000:1000",
            "--mount",
            "type=tmpfs,target=/dev/shm",
            "--no-resolve-image",
            "--entrypoint",
            "/bin/flowkit",
        ]);
        let (mut environment, mut secrets) = (BTreeMap::new(), BTreeMap::new());
        for role in self.speaks_to.iter().filter_map(|name| catalogue().role(name)) {
            if let Some(network) = network_of(role) {
                args.extend(words(&["--network", &format!("{}_{network}", self.stack)]));
            }
            environment.extend(host_of(role));
            let held = services::secrets(docker, &self.service(&role.name))?;
            secrets.extend(held.into_iter().map(|held| (held.file.name, held.secret_name)));
        }
        // Its service may be told other names for its neighbours than the usual ones.
        environment.extend(services::environment(docker, &self.service(self.image_of))?);
        for (name, value) in environment {
            args.extend(words(&["--env", &format!("{name}={value}")]));
        }
        for (target, source) in secrets {
            args.extend(words(&["--secret", &format!("source={source},target={target},uid=1000,gid=1000,mode=0400")]));
        }
        args.push(services::image(docker, &self.service(self.image_of))?);
        args.extend(words(self.command));
        Ok(args)
    }

    fn service(&self, role: &str) -> String {
        format!("{}_{role}", self.stack)
    }

    /// Why it did not end well, if it did not.
    fn wait(&self, docker: &Docker, name: &str) -> Result<Option<String>, Error> {
        let until = Instant::now() + self.patience;
        loop {
            let line =
                docker.ask(&["service", "ps", "--no-trunc", "--format", "{{.CurrentState}}|{{.Error}}", name])?;
            let (state, error) = line.lines().next().and_then(|line| line.split_once('|')).unwrap_or(("", ""));
            match state.split_whitespace().next().unwrap_or_default() {
                "Complete" => return Ok(None),
                "Failed" | "Rejected" | "Orphaned" | "Remove" => return Ok(Some(error.to_owned())),
                _ if Instant::now() > until => {
                    return Ok(Some(format!("not within {} s: {state} {error}", self.patience.as_secs())));
                }
                _ => std::thread::sleep(Duration::from_millis(500)),
            }
        }
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
