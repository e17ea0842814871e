//! `flowkit tune`: what PostgreSQL would be told here, and why.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{Failure, table};
use crate::flowdb::cluster::cluster;
use crate::roles::{Deployment, HostError, usual};
use crate::tuning::{self, Database, Plan, Setting};
use flowkit_core::Site;
use flowkit_core::hardware::{self, Disk, Fact, Hardware};
use flowkit_core::size::{self, rounded};
use postgres::Cluster;
use say::tell;

/// Show what PostgreSQL is told on this machine, and why
///
/// FlowDB's configuration is derived again at every start from the memory and CPUs of the machine or of the cgroup that
/// limits it, its disk, the size of its data, and variables such as SHARED_BUFFERS_SIZE. This command shows the
/// outcome without starting anything: each setting with its value, the reason and where it came from. Flags plan for
/// another machine. Nothing is changed.
#[derive(Args)]
pub struct Tune {
    /// Memory to plan for, such as 32GiB [default: what the machine or its cgroup has and the other roles leave]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
    /// CPUs to plan for [default: what the machine or its cgroup has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    cpus: Option<u32>,
    /// Kind of disk under the data [default: what the machine says]
    #[arg(long)]
    disk: Option<Disk>,
    /// Size of the data, such as 500GB [default: that of the data directory]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    data: Option<u64>,
    /// Version of PostgreSQL [default: that of the data directory, else the newest installed, else 15]
    #[arg(long, value_name = "MAJOR", value_parser = clap::value_parser!(u32).range(15..=18))]
    postgres: Option<u32>,
    /// State directory [default: /var/lib/flowkit for root, the XDG state directory for others]
    #[arg(long, value_name = "STATE")]
    dir: Option<PathBuf>,
    /// A table for people, the configuration file, or JSON
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Conf,
    Json,
}

fn size(text: &str) -> Result<u64, String> {
    size::parse(text).filter(|&n| n > 0).ok_or_else(|| "give a size, such as 512MB or 32GiB".to_owned())
}

impl Tune {
    /// Plans and prints: the plan to stdout, warnings to stderr.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let site = self.site()?;
        let cluster = cluster(&site);
        let data = cluster.data();
        let hardware = self.hardware(&data);
        let database = self.database(&cluster, &data)?;
        let plan = tuning::plan(&hardware, &site.settings, &database).map_err(Failure::mistake)?;
        for warning in &plan.warnings {
            tell!("warning: {warning}");
        }
        let text = match self.format {
            Format::Table => in_words(&hardware, &database, &plan),
            Format::Conf => plan.conf(),
            Format::Json => format!("{:#}\n", as_json(&hardware, &database, &plan)),
        };
        say::product(text.as_bytes());
        Ok(ExitCode::SUCCESS)
    }

    /// The deployment that runs there, as its next start would have it, or, if none does, one with the usual roles. A
    /// memory that is given is FlowDB's own. Root looks at FlowDB's files as FlowDB's user.
    fn site(&self) -> Result<Site, Failure> {
        let dir = self.dir.as_deref();
        let deployment = match self.memory {
            Some(_) => Deployment::open(dir),
            None => Deployment::open_next(dir).map(|found| found.running(usual().map(str::to_string).collect())),
        };
        let deployment = deployment.map_err(Failure::mistake)?;
        match deployment.become_role("flowdb") {
            // There are no files of its to look at.
            Ok(()) | Err(HostError::NoRole { .. }) => Ok(deployment.site),
            Err(error) => Err(Failure::mistake(error)),
        }
    }

    /// This machine, with what the flags say otherwise.
    fn hardware(&self, data: &Path) -> Hardware {
        let mut hardware = hardware::detect(data);
        if let Some(memory) = self.memory {
            hardware.memory = Fact::given(memory, "--memory");
        }
        if let Some(cpus) = self.cpus {
            hardware.cpus = Fact::given(cpus, "--cpus");
        }
        if let Some(disk) = self.disk {
            hardware.disk = Fact::given(disk, "--disk");
            hardware.read_iops = None;
        }
        hardware
    }

    fn database(&self, cluster: &Cluster, data: &Path) -> Result<Database, Failure> {
        let installed = match cluster.postgres() {
            Ok(found) => Some(found),
            // Planning needs none.
            Err(postgres::Error::NoPostgres { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let mut database = match (installed, self.postgres) {
            (Some(found), wanted) if wanted.is_none_or(|w| w == found.major) => {
                Database::look(&found.bin, found.major, data)
            }
            (_, wanted) => Database::new(wanted.unwrap_or(15)),
        };
        if let Some(bytes) = self.data {
            database.bytes = bytes;
        }
        Ok(database)
    }
}

fn in_words(hardware: &Hardware, database: &Database, plan: &Plan) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:<11}{value}\n"));
    line("memory", format!("{} ({})", rounded(plan.inputs.memory.value), plan.inputs.memory.origin));
    line("CPUs", format!("{} ({})", plan.inputs.cpus.value, plan.inputs.cpus.origin));
    line("disk", format!("{} ({})", hardware.disk.value, hardware.disk.origin));
    line("PostgreSQL", format!("{} with {} of data", database.major, rounded(database.bytes)));
    line("needs", format!("{} at most: {}", rounded(plan.budget.total()), plan.budget.describe()));
    for change in &plan.fitted {
        line("lowered", change.clone());
    }
    let settings = plan.settings.iter().chain(&plan.cache_settings).map(|setting| {
        let Setting { name, value, reason, origin } = setting;
        [(*name).to_owned(), value.to_string(), origin.to_string(), reason.clone()]
    });
    text + &table::fitted(["SETTING", "VALUE", "FROM", "WHY"], settings)
}

fn as_json(hardware: &Hardware, database: &Database, plan: &Plan) -> serde_json::Value {
    json!({
        "hardware": hardware,
        "postgres": database.major,
        "data_bytes": database.bytes,
        "memory": plan.inputs.memory,
        "cpus": plan.inputs.cpus,
        "budget_bytes": plan.budget,
        "fitted": plan.fitted,
        "settings": plan.settings,
        "cache": plan.cache_settings,
        "warnings": plan.warnings,
    })
}
