//! `flowkit etl cells`: where cells are.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use etl::Changed;
use indicatif::HumanCount;
use time::Date;

use super::super::Failure;
use super::super::demo::date;
use super::places::Places;
use crate::flowdb;
use crate::roles::Deployment;
use say::show;

/// Load a list of cells, with the history of those that have moved
///
/// The list is CSV with an id, a longitude and a latitude in degrees (WGS 84), or a GeoJSON, Shapefile, GeoPackage or CSV with an
/// id and a point; and whatever columns of infrastructure.cells else. A cell that is not there is added; one that has moved gets a new version from --date on, and the old
/// one ends the day before; of others names, antennas and the like are brought up to date. Cells that the list does not name
/// stay. Nothing is changed unless the whole list is sound; whatever is wrong in it is said at once.
#[derive(Args)]
pub struct CellsArgs {
    #[command(flatten)]
    places: Places,
    /// Since when cells that have moved are where the list says
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    date: Option<Date>,
    /// State directory of the deployment [default: /var/lib/flowkit for root, else flowkit in the XDG state directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl CellsArgs {
    /// Checks and loads; a line to stdout says what has changed.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let Places { file, srid, ignore, .. } = &self.places;
        let list =
            etl::cells(file, &self.places.reading(), *srid, &self.places.names()?, ignore).map_err(Failure::mistake)?;
        let Deployment { site, .. } = Deployment::open_running(self.dir.as_deref()).map_err(Failure::mistake)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let changed = runtime.block_on(async {
            let mut client = flowdb::connect(&site, flowdb::SUPERUSER).await?;
            etl::apply(&mut client, &list, self.date).await.map_err(|error| match error {
                etl::Error::Moved { .. } | etl::Error::TooEarly { .. } | etl::Error::Nowhere { .. } => {
                    Failure::mistake(error)
                }
                other => other.into(),
            })
        })?;
        show!("{}", sentence(changed));
        Ok(ExitCode::SUCCESS)
    }
}

fn sentence(changed: Changed) -> String {
    let Changed { new, moved, same, unnamed } = changed;
    let counted = |count: u64| if count == 1 { "1 cell".to_owned() } else { format!("{} cells", HumanCount(count)) };
    let mut text = format!("{} added, {} moved, {} where they were", counted(new), HumanCount(moved), HumanCount(same));
    if unnamed > 0 {
        text += &format!("; {} that the list does not name", HumanCount(unnamed));
    }
    text
}
