//! Areas become a level of schema `geography`, in one transaction. What they mean is asked of PostGIS, in tables that are gone
//! afterwards: whether they are areas, in degrees, valid, apart from one another.

mod delivered;
mod level;

use tokio_postgres::Client;

use self::delivered::{cells, deliver, faults, gaps, overlaps};
use self::level::{make, stored, there};
use crate::areas::{Area, Areas};
use crate::error::Error;

/// What may be done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leave {
    /// Mend what is not valid.
    pub mend: bool,
    /// Take areas that overlap.
    pub overlaps: bool,
    /// Put it in the place of what is there.
    pub replace: bool,
    /// Look, and change nothing.
    pub check: bool,
}

/// Why a level is as it was.
#[derive(Debug, thiserror::Error)]
pub enum NotLoaded {
    /// The areas.
    #[error("nothing was changed; {} of the areas can't be taken:\n{}", .0.len(), crate::error::listed(.0))]
    Areas(Vec<String>),
    /// There is one.
    #[error(
        "nothing was changed: geography.admin{0} is there, {1}; --replace puts these in its place. Results by admin{0} that \
         FlowMachine has stored are of the old areas, and stay so"
    )]
    There(u8, Before),
    /// There is one that FlowDB's owner has not made.
    #[error(
        "nothing was changed, and nothing read: geography.admin{level} is the {what} of \"{owner}\", not FlowDB's own, and may run code of \
         theirs; have it dropped or renamed (as they, or DROP {what} geography.admin{level} in psql), or choose another level"
    )]
    Foreign {
        /// The level.
        level: u8,
        /// As it is dropped.
        what: &'static str,
        /// Whose it is.
        owner: String,
    },
    /// FlowDB.
    #[error(transparent)]
    Database(#[from] Error),
}

/// What was found, and done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// How many areas.
    pub areas: u64,
    /// Those that were mended, and what was wrong.
    pub mended: Vec<String>,
    /// Pairs of them that overlap, the largest first.
    pub overlaps: Vec<String>,
    /// Pairs whose outlines cross a little.
    pub slivers: u64,
    /// Ground between them that is nobody's.
    pub gaps: Option<Gaps>,
    /// Cells of FlowDB in no area, in one, in several.
    pub cells: [u64; 3],
    /// What was there before.
    pub before: Option<Before>,
    /// Results by them that FlowMachine has stored.
    pub stored: u64,
}

/// What a level was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// A table, of so many areas.
    Areas(u64),
    /// A view, or whatever else has to be computed: it may have been built on what others made, and is not asked.
    Other(&'static str),
}

impl std::fmt::Display for Before {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Before::Areas(areas) => write!(f, "with {areas} areas"),
            Before::Other(what) => write!(f, "a {}", what.to_lowercase()),
        }
    }
}

/// Ground that is surrounded by areas and part of none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gaps {
    /// How many there are.
    pub count: u64,
    /// The largest of them, in square kilometres.
    pub largest: f64,
    /// A point in it.
    pub place: [f64; 2],
}

/// Checks areas, and makes a level of them.
///
/// # Errors
/// [`NotLoaded`]: nothing has changed then.
pub async fn geography(client: &mut Client, areas: &Areas, leave: Leave) -> Result<Found, NotLoaded> {
    let level = areas.level;
    let failed = || Error::when(format!("look at the areas of admin{level}"));
    let transaction = client.transaction().await.map_err(failed())?;
    let there = there(&transaction, level).await?;
    if let Some(before) = there.as_ref().map(|there| there.before)
        && !leave.replace
        && !leave.check
    {
        return Err(NotLoaded::There(level, before));
    }
    deliver(&transaction, areas).await.map_err(failed())?;
    transaction.batch_execute(&faults(areas.srid, leave.mend)).await.map_err(failed())?;
    let ask = async |column: &str| {
        let sql = format!("SELECT n, {column} FROM delivered WHERE {column} IS NOT NULL ORDER BY n");
        let rows = transaction.query(&sql, &[]).await.map_err(failed())?;
        let line =
            |row: &tokio_postgres::Row| format!("{} {}", label(&areas.areas, row.get(0)), row.get::<_, String>(1));
        Ok::<_, Error>(rows.iter().map(line).collect::<Vec<_>>())
    };
    let mut wrong = areas.faults.clone();
    wrong.extend(ask("fault").await?);
    let mended = ask("mended").await?;
    let (overlaps, slivers) = overlaps(&transaction, areas).await.map_err(failed())?;
    // Whoever only looks is told of overlaps that may be left, unless there is something else to put right.
    if !leave.overlaps && (!leave.check || !wrong.is_empty()) {
        wrong.extend(overlaps.iter().cloned());
    }
    if !wrong.is_empty() {
        return Err(NotLoaded::Areas(wrong));
    }
    let mut found = Found {
        areas: areas.areas.len() as u64,
        mended,
        overlaps,
        slivers,
        gaps: gaps(&transaction).await.map_err(failed())?,
        cells: cells(&transaction).await.map_err(failed())?,
        before: there.as_ref().map(|there| there.before),
        stored: stored(&transaction, level).await.map_err(failed())?,
    };
    if found.before.is_none() {
        found.stored = 0;
    }
    if !leave.check {
        make(transaction, areas, there.map(|there| there.what)).await?;
    }
    Ok(found)
}

fn label(areas: &[Area], n: i32) -> &str {
    usize::try_from(n).ok().and_then(|at| areas.get(at)).map_or("an area", |area| &area.label)
}
