//! Cells: where they are, and since when. A list of them becomes rows of `infrastructure.cells`, with their history.
//!
//! Of a cell that has moved the old place stays, with the day before as its last, and the new one is its next version: events of
//! before are still counted where it was. Nothing is changed unless the whole list is sound.

mod list;

use serde_json::json;
use time::Date;
use tokio_postgres::{Client, Transaction};

use crate::error::Error;

pub use list::{Unsound, cells};

/// Columns of `infrastructure.cells` that a list may have beside id and place, with their types.
const OTHERS: &[(&str, &str)] = &[
    ("site_id", "text"),
    ("name", "text"),
    ("type", "text"),
    ("msc", "text"),
    ("bsc_rnc", "text"),
    ("antenna_type", "text"),
    ("status", "text"),
    ("lac", "text"),
    ("height", "numeric"),
    ("azimuth", "numeric"),
    ("transmitter", "text"),
    ("max_range", "numeric"),
    ("min_range", "numeric"),
    ("electrical_tilt", "numeric"),
    ("mechanical_downtilt", "numeric"),
    ("date_of_first_service", "date"),
    ("date_of_last_service", "date"),
];
/// Degrees, as GPS has them.
const WGS84: i32 = 4326;
/// Two places that are nearer, in degrees (some centimetres), are the same: coordinates are rounded on their way.
const SAME: f64 = 1e-6;

/// A list of cells that is sound.
#[derive(Debug, Default, PartialEq)]
pub struct Cells {
    /// Columns beside id and place, of `OTHERS`.
    columns: Vec<&'static str>,
    cells: Vec<Cell>,
    /// What their places are counted in.
    srid: i32,
}

#[derive(Debug, PartialEq)]
struct Cell {
    id: String,
    longitude: f64,
    latitude: f64,
    others: Vec<Option<String>>,
}

/// What became of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Cells that were not there.
    pub new: u64,
    /// Cells that are somewhere else now.
    pub moved: u64,
    /// Cells that are where they were.
    pub same: u64,
    /// Cells that FlowDB has and the list has not; they stay.
    pub unnamed: u64,
}

/// Brings `infrastructure.cells` up to a list, in one transaction; cells that have moved are where the list says from `date` on.
///
/// # Errors
/// Cells have moved and no day is given, or one before the cell's last change; a statement fails.
pub async fn apply(client: &mut Client, list: &Cells, date: Option<Date>) -> Result<Changed, Error> {
    let failed = || Error::when("bring infrastructure.cells up to the list");
    let transaction = client.transaction().await.map_err(failed())?;
    let columns: Vec<(&str, &str)> = OTHERS.iter().copied().filter(|(name, _)| list.columns.contains(name)).collect();
    let fields: String = columns.iter().map(|(name, r#type)| format!(", {name} {type}")).collect();
    let make = format!(
        "LOCK infrastructure.cells IN SHARE ROW EXCLUSIVE MODE;
         CREATE TEMPORARY TABLE delivered (id text PRIMARY KEY, place public.geometry{fields}) ON COMMIT DROP"
    );
    transaction.batch_execute(&make).await.map_err(failed())?;
    let point = format!(
        "public.ST_SetSRID(public.ST_Point((cell->>1)::double precision, (cell->>2)::double precision), {})",
        list.srid
    );
    let place = if list.srid == WGS84 { point } else { format!("public.ST_Transform({point}, {WGS84})") };
    let sql = format!(
        "INSERT INTO delivered (id, place{}) SELECT cell->>0, {place}{}
         FROM unnest($1::text[]) AS line, LATERAL (SELECT line::json AS cell) AS parsed",
        columns.iter().map(|(name, _)| format!(", {name}")).collect::<String>(),
        columns
            .iter()
            .map(|(name, r#type)| {
                let at = 3 + list.columns.iter().position(|column| column == name).unwrap_or_default();
                format!(", (cell->>{at})::{type}")
            })
            .collect::<String>(),
    );
    let lines: Vec<String> = list.cells.iter().map(Cell::json).collect();
    transaction.execute(&sql, &[&lines]).await.map_err(failed())?;
    somewhere(&transaction).await?;
    let compare = format!(
        "CREATE TEMPORARY TABLE compared ON COMMIT DROP AS
         SELECT delivered.id, now_.cell_id, now_.version, now_.date_of_first_service AS since,
             now_.cell_id IS NOT NULL AND (now_.geom_point IS NULL OR public.ST_Distance(now_.geom_point, delivered.place) > {SAME}) AS moved
         FROM delivered LEFT JOIN (
             SELECT DISTINCT ON (id) * FROM infrastructure.cells ORDER BY id, version DESC NULLS LAST) AS now_ USING (id)"
    );
    transaction.batch_execute(&compare).await.map_err(failed())?;
    let counts = transaction
        .query_one(
            "SELECT count(*) FILTER (WHERE cell_id IS NULL), count(*) FILTER (WHERE moved), count(*) FILTER (WHERE cell_id IS NOT NULL AND NOT moved),
                 (SELECT count(DISTINCT id) FROM infrastructure.cells WHERE id NOT IN (SELECT id FROM delivered)),
                 min(id) FILTER (WHERE moved), min(id) FILTER (WHERE moved AND since >= $1::date) FROM compared",
            &[&date],
        )
        .await
        .map_err(failed())?;
    let count = |at: usize| counts.get::<_, i64>(at).unsigned_abs();
    let changed = Changed { new: count(0), moved: count(1), same: count(2), unnamed: count(3) };
    match (date, counts.get::<_, Option<String>>(4), counts.get::<_, Option<String>>(5)) {
        (None, Some(cell), _) => return Err(Error::Moved { cells: changed.moved, cell }),
        (Some(date), _, Some(cell)) => return Err(Error::TooEarly { cell, date }),
        _ => {}
    }
    transaction.batch_execute(&update(&columns, date)).await.map_err(failed())?;
    transaction.commit().await.map_err(failed())?;
    Ok(changed)
}

/// What came out of another system of coordinates is a place on Earth.
async fn somewhere(transaction: &Transaction<'_>) -> Result<(), Error> {
    let sql = "SELECT id, public.ST_AsText(place) FROM delivered
               WHERE NOT (public.ST_X(place) BETWEEN -180 AND 180 AND public.ST_Y(place) BETWEEN -90 AND 90) ORDER BY id LIMIT 1";
    let found = transaction.query_opt(sql, &[]).await.map_err(Error::when("look for cells that are nowhere"))?;
    match found {
        Some(row) => Err(Error::Nowhere { cell: row.get(0), place: row.get(1) }),
        None => Ok(()),
    }
}

impl Cell {
    /// The cell as a JSON array: id, longitude, latitude, the others.
    fn json(&self) -> String {
        let mut all = vec![json!(self.id), json!(self.longitude), json!(self.latitude)];
        all.extend(self.others.iter().map(|value| json!(value)));
        json!(all).to_string()
    }
}

/// What is no history (a name, an antenna) is brought up to date where it stands; a field without a value changes nothing. Since when a
/// cell that has moved is where it is, FlowDB knows better than a list.
fn update(columns: &[(&str, &str)], date: Option<Date>) -> String {
    let is_listed = |name: &str| columns.iter().any(|(listed, _)| *listed == name);
    let set = |name: &str| match name {
        "date_of_first_service" => {
            format!(
                "{name} = CASE WHEN cell.version > 0 THEN cell.{name} ELSE coalesce(delivered.{name}, cell.{name}) END"
            )
        }
        _ => format!("{name} = coalesce(delivered.{name}, cell.{name})"),
    };
    let sets: Vec<String> = columns.iter().map(|(name, _)| set(name)).collect();
    let mut sql = String::new();
    if !sets.is_empty() {
        sql += &format!(
            "UPDATE infrastructure.cells AS cell SET {} FROM delivered JOIN compared USING (id)
             WHERE cell.cell_id = compared.cell_id AND NOT compared.moved;",
            sets.join(", ")
        );
    }
    if let Some(date) = date {
        // What the list does not say is as it was, but for the days of service.
        let value = |name: &str| match (name, is_listed(name)) {
            ("date_of_first_service", _) => format!("date '{date}'"),
            ("date_of_last_service", true) => format!("delivered.{name}"),
            ("date_of_last_service", false) => "NULL::date".to_owned(),
            (_, true) => format!("coalesce(delivered.{name}, old.{name})"),
            (_, false) => format!("old.{name}"),
        };
        let (names, values): (Vec<&str>, Vec<String>) = OTHERS.iter().map(|(name, _)| (*name, value(name))).unzip();
        sql += &format!(
            "INSERT INTO infrastructure.cells (id, version, geom_point, {})
             SELECT delivered.id, coalesce(compared.version, 0) + 1, delivered.place, {}
             FROM delivered JOIN compared USING (id) JOIN infrastructure.cells AS old ON old.cell_id = compared.cell_id
             WHERE compared.moved;
             UPDATE infrastructure.cells AS cell SET date_of_last_service = date '{date}' - 1 FROM compared
             WHERE cell.cell_id = compared.cell_id AND compared.moved;",
            names.join(", "),
            values.join(", ")
        );
    }
    let names: String = columns.iter().map(|(name, _)| format!(", {name}")).collect();
    let values: String = columns.iter().map(|(name, _)| format!(", delivered.{name}")).collect();
    sql + &format!(
        "INSERT INTO infrastructure.cells (id, version, geom_point{names})
         SELECT delivered.id, 0, delivered.place{values} FROM delivered JOIN compared USING (id) WHERE compared.cell_id IS NULL;"
    )
}
