//! `flowkit etl geography`: administrative areas.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use etl::{Areas, Before, Found, Gaps, Leave, NotLoaded};
use indicatif::HumanCount;
use say::{Shown, show, tell};

use super::super::Failure;
use super::places::Places;
use crate::flowdb;
use crate::roles::Deployment;

/// Load the areas of an administrative level into a running FlowDB
///
/// The file holds a polygon or multipolygon for each area, with its code and its name: as GeoJSON, Shapefile, GeoPackage, or CSV
/// with a column of WKT. They become the table geography.adminN, by which FlowMachine counts. Which attributes are code and name,
/// and those of the levels above, is guessed by what others call them, and said; --map says it otherwise (admin3pcod=CODE).
///
/// Nothing is changed unless all of it is sound: areas without a code, with the code of another, that are not valid, that overlap by
/// more than a hundredth of the smaller one, or that are not in degrees, are named. What a file counts in a projection, and says
/// which, PostGIS makes longitude and latitude of.
#[derive(Args)]
pub struct GeographyArgs {
    /// The level: admin0 (the country) to admin5
    #[arg(value_name = "LEVEL", value_parser = level)]
    level: u8,
    #[command(flatten)]
    places: Places,
    /// Look, say what is found, and change nothing
    #[arg(long)]
    check: bool,
    /// Put the areas in the place of those that the level has. Results by them that FlowMachine has stored stay those of the old ones
    #[arg(long)]
    replace: bool,
    /// Mend areas that are not valid (ST_MakeValid), and say which
    #[arg(long)]
    mend: bool,
    /// Take areas that overlap: a cell in two of them is counted in both
    #[arg(long)]
    overlaps: bool,
    /// State directory of the deployment [default: /var/lib/flowkit for root, else flowkit in the XDG state directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

fn level(text: &str) -> Result<u8, String> {
    let number = text.strip_prefix("admin").and_then(|number| number.parse().ok());
    number.filter(|level| etl::LEVELS.contains(level)).ok_or_else(|| "give admin0 to admin5".to_owned())
}

impl GeographyArgs {
    /// Checks and loads; what was found to stderr, a line to stdout.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let Places { file, srid, ignore, .. } = &self.places;
        let names = self.places.names()?;
        let areas = etl::areas(file, self.level, &self.places.reading(), *srid, &names, ignore);
        let areas = areas.map_err(Failure::mistake)?;
        said(&areas);
        let Deployment { site, .. } = Deployment::open_running(self.dir.as_deref()).map_err(Failure::mistake)?;
        let leave = Leave { mend: self.mend, overlaps: self.overlaps, replace: self.replace, check: self.check };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let found = runtime.block_on(async {
            let mut client = flowdb::connect(&site, flowdb::SUPERUSER).await?;
            etl::geography(&mut client, &areas, leave).await.map_err(|error| match error {
                NotLoaded::Database(error) => error.into(),
                other => Failure::mistake(other),
            })
        })?;
        for line in lines(&found, self.level) {
            tell!("{line}");
        }
        show!("{}", sentence(&found, &self));
        let is_unsound = self.check && !self.overlaps && !found.overlaps.is_empty();
        Ok(if is_unsound { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// Which attribute was taken for what.
fn said(areas: &Areas) {
    for column in &areas.columns {
        let examples: Vec<String> = column.examples.iter().map(|example| format!("\"{}\"", Shown(example))).collect();
        tell!("{} is {}: {}", column.name, Shown(&column.attribute), examples.join(", "));
    }
    if !areas.left.is_empty() {
        const SHOWN: usize = 100;
        let more = areas.left.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        tell!("left out: {}{more}", Shown(areas.left[..areas.left.len().min(SHOWN)].join(", ")));
    }
}

/// What a person should know, a line each.
fn lines(found: &Found, level: u8) -> Vec<String> {
    const SHOWN: usize = 20;
    let mut lines = Vec::new();
    for (all, what) in [(&found.mended, "mended: "), (&found.overlaps, "")] {
        lines.extend(all.iter().take(SHOWN).map(|line| format!("{what}{}", Shown(line))));
        if all.len() > SHOWN {
            lines.push(format!("{what}and {} more", all.len() - SHOWN));
        }
    }
    if found.slivers > 0 {
        lines.push(format!("outlines cross a little in {} places", HumanCount(found.slivers)));
    }
    if let Some(Gaps { count, largest, place: [longitude, latitude] }) = found.gaps {
        let gaps = if count == 1 { "1 hole".to_owned() } else { format!("{} holes", HumanCount(count)) };
        lines.push(format!(
            "{gaps} between the areas (lakes, or ground that is nobody's), the largest of {largest:.3} km² around longitude {longitude:.5}, latitude {latitude:.5}"
        ));
    }
    let [none, one, several] = found.cells;
    if none + several > 0 {
        lines.push(format!(
            "of the cells' places {} are in one area, {} in none, whose events count nowhere, and {} in several, whose events count in each",
            HumanCount(one),
            HumanCount(none),
            HumanCount(several)
        ));
    }
    if found.stored > 0 {
        lines.push(format!(
            "{} results by admin{level} that FlowMachine has stored are of the old areas, and are given out as they are; reset_cache() of \
             the library flowmachine removes all that is stored",
            HumanCount(found.stored)
        ));
    }
    lines
}

fn sentence(found: &Found, args: &GeographyArgs) -> String {
    let areas = if found.areas == 1 { "1 area".to_owned() } else { format!("{} areas", HumanCount(found.areas)) };
    let table = format!("geography.admin{}", args.level);
    let there = match found.before {
        Some(Before::Areas(areas)) => Some(("with ", HumanCount(areas).to_string())),
        Some(Before::Other(what)) => Some(("", format!("a {}", what.to_lowercase()))),
        None => None,
    };
    match (args.check, there) {
        (true, Some((with, what))) => {
            format!("{areas}; nothing was changed. {table} is there, {with}{what}: --replace puts these in its place")
        }
        (true, None) => format!("{areas}; nothing was changed"),
        (false, Some((_, what))) => format!("{table}: {areas}, in place of {what}"),
        (false, None) => format!("{table}: {areas}"),
    }
}
