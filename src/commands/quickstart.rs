//! `flowkit quickstart`: FlowKit on Docker Swarm, from an engine without anything to right answers.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::stack::{Layout, head, tell_of_optional, tell_of_places};
use super::{Failure, swarm, verify};
use crate::stack::rollout::{self, Joined, RolloutError};
use crate::stack::rotation;
use crate::stack::{self, Docker, Job, Outcome, Wish, inside, vault};
use say::{show, tell};

/// Bring FlowKit up on this machine's Docker engine: swarm, images, secrets, stack, and a check of all of it
///
/// Makes a swarm of one node if the engine is in none, loads the images, makes the secrets that are missing, deploys the
/// stack that `flowkit stack` prints, waits until every service is healthy, and asks it a real question. It can be run
/// again at any time, also to change what it was given. No data are removed; a role that is not asked for any more goes on,
/// and is named.
#[derive(Args)]
pub struct Quickstart {
    #[command(flatten)]
    layout: Layout,
    /// Name of the stack
    #[arg(long, value_name = "NAME", default_value = "flowkit", value_parser = stack::stack_name)]
    stack: String,
    /// Directory with the images, each called ROLE-image [default: the engine has them]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Address of this machine by which other nodes would reach a new swarm
    #[arg(long, value_name = "ADDRESS")]
    advertise_addr: Option<String>,
    /// Load invented call records once the database is ready
    #[arg(long)]
    demo: bool,
    /// How many days of them
    #[arg(long, value_name = "N", default_value = "30", requires = "demo")]
    demo_days: u32,
    /// Give up when not everything is healthy after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    patience: u64,
}

impl Quickstart {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let (mut wish, settings) = self.layout.read()?;
        let inner = inside(&wish, &settings).map_err(Failure::mistake)?;
        // What is wrong with the wish is told before anything is done.
        stack::plan(&wish, &settings).map_err(Failure::mistake)?;
        let docker = Docker::connect()?;

        match rollout::swarm(&docker, self.advertise_addr.as_deref()).map_err(failure)? {
            Joined::Made => tell!("made a swarm of this node"),
            Joined::There { nodes: 0 | 1 } => {}
            Joined::There { nodes } => tell!(
                "note: this swarm has {nodes} nodes; every node that may run a role needs its image, and --placement pins \
                 a role to the node that has its data"
            ),
        }
        wish.take_secrets(vault::versions(&docker, wish.prefix())?.into_keys());
        rollout::images(&docker, &wish, self.images.as_deref(), &mut |told| tell!("{told}")).map_err(failure)?;
        let secrets = self.layout.secrets.as_deref();
        if let Some(dir) = secrets {
            tell_of_places(&wish, dir, &inner);
        }
        let made = vault::make(&docker, &wish, secrets, &inner).map_err(swarm::failure)?;
        tell!("secrets: {} made, {} kept", made.made.len(), made.kept.len());
        swarm::tell_of_made(&made);
        if secrets.is_none() && made.made.iter().any(|name| name.ends_with("cert-flowkit.pem")) {
            tell!("note: without --secrets nobody has FlowAPI's certificate, nor the key that tokens are made with");
        }
        wish.take_versions(vault::versions(&docker, wish.prefix())?);

        let file = stack::plan(&wish, &settings).map_err(Failure::mistake)?;
        tell_of_optional(&wish, &settings);
        rollout::deploy(&docker, &self.stack, &file.text(&head(&wish)))?;
        self.tell_of_the_rest(&docker, &wish, &file)?;
        for service in rollout::refresh(&docker, &self.stack, &wish)? {
            tell!("{service} gets its new image");
        }
        self.wait(&docker, &file)?;
        // What is deployed now may have finished a rotation.
        rotation::settle(&docker, &wish, &self.stack, secrets).map_err(swarm::failure)?;
        if self.demo {
            self.load(&docker)?;
        }
        self.check(&docker, &wish)
    }

    /// What an earlier call has brought up and this one has not.
    fn tell_of_the_rest(&self, docker: &Docker, wish: &Wish, file: &stack::File) -> Result<(), Failure> {
        let (removed, others) = rollout::left_over(docker, &self.stack, wish, file)?;
        removed.iter().for_each(|service| tell!("removed {service}: its role is in other services now"));
        for service in others {
            tell!(
                "note: {service} was not asked for this time and goes on as it was; without it: docker service rm \
                 {service} (its volumes and secrets stay)"
            );
        }
        Ok(())
    }

    fn wait(&self, docker: &Docker, file: &stack::File) -> Result<(), Failure> {
        let began = Instant::now();
        let mut tell = |progress: &rollout::Progress| {
            tell!("{:6.1} s  {}: {}", began.elapsed().as_secs_f64(), progress.service, progress.state);
        };
        rollout::wait(docker, &self.stack, file, Duration::from_secs(self.patience), &mut tell).map_err(failure)
    }

    /// Demo data; FlowDB's own image loads them.
    fn load(&self, docker: &Docker) -> Result<(), Failure> {
        let days = self.demo_days.to_string();
        let command = ["db", "demo", "--dir", "/dev/shm/flowkit", "--days", &days];
        let patience = Duration::from_secs(3600);
        let job = Job { stack: &self.stack, image_of: "flowdb", speaks_to: &["flowdb"], command: &command, patience };
        tell!("loading {days} days of invented call records");
        let Outcome { success, stdout, stderr } = job.run(docker)?;
        if !success {
            return Err(Failure::from(RolloutError::NotHealthy(format!(
                "the demo data could not be loaded\n{stderr}"
            ))));
        }
        tell!("{stdout}");
        Ok(())
    }

    /// A real question, where there is somebody to answer it and something to ask about.
    fn check(&self, docker: &Docker, wish: &Wish) -> Result<ExitCode, Failure> {
        if !["flowdb", "redis", "flowmachine"].iter().all(|role| wish.has(role)) {
            tell!("every service is healthy");
            return Ok(ExitCode::SUCCESS);
        }
        let command = ["verify", "--dir", "/dev/shm/flowkit"];
        let Outcome { success, stdout, stderr } =
            verify::inside(&self.stack, &command, Duration::from_secs(1800)).run(docker)?;
        show!("{stdout}");
        if !success && stdout.contains(&crate::verify::Error::NoDay.to_string()) {
            tell!(
                "every service is healthy and nothing is ingested yet; once there is: flowkit verify --stack {}",
                self.stack
            );
            return Ok(ExitCode::SUCCESS);
        }
        tell!("{stderr}");
        Ok(if success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// What the operator has to do first is a mistake.
fn failure(error: RolloutError) -> Failure {
    match error {
        RolloutError::Refused(_) => Failure::mistake(error),
        other => other.into(),
    }
}
