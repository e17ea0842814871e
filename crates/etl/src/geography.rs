//! Areas become a level of schema `geography`, in one transaction. What they mean is asked of PostGIS, in tables that are gone
//! afterwards: whether they are areas, in degrees, valid, apart from one another.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Transaction};

use crate::areas::{Area, Areas, own};
use crate::error::Error;
use crate::features::Geometry;

/// The share of the smaller of two areas above which they overlap. What is less are outlines that were drawn twice.
const OVERLAP: f64 = 0.01;
/// Longest wait for a lock on a table that is queried, how long it is tried again, and the pause in between.
const LOCK: &str = "400ms";
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(1);

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

/// What has the level's name now.
struct There {
    /// As it is dropped.
    what: &'static str,
    before: Before,
}

/// Finds out what has the level's name, and asks it nothing unless it is a plain table of FlowDB's owner: analysts may make relations
/// in the schema, and a function in a view of theirs would run with the rights of whoever looks, that is with all.
async fn there(transaction: &Transaction<'_>, level: u8) -> Result<Option<There>, NotLoaded> {
    let failed = || Error::when(format!("look at geography.admin{level}"));
    let sql = "SELECT pg_class.oid, relkind::text, rolname::text, rolsuper FROM pg_class JOIN pg_roles ON pg_roles.oid = relowner
               WHERE pg_class.oid = to_regclass($1)";
    let table = format!("geography.admin{level}");
    let look = async || -> Result<Option<(u32, &'static str)>, NotLoaded> {
        let Some(row) = transaction.query_opt(sql, &[&table]).await.map_err(failed())? else { return Ok(None) };
        let what = match row.get(1) {
            "r" | "p" => "TABLE",
            "v" => "VIEW",
            "m" => "MATERIALIZED VIEW",
            "f" => "FOREIGN TABLE",
            "S" => "SEQUENCE",
            "i" | "I" => "INDEX",
            _ => "TYPE",
        };
        match row.get(3) {
            true => Ok(Some((row.get(0), what))),
            false => Err(NotLoaded::Foreign { level, what, owner: row.get(2) }),
        }
    };
    let Some((oid, what)) = look().await? else { return Ok(None) };
    if what != "TABLE" {
        return Ok(Some(There { what, before: Before::Other(what) }));
    }
    // It can't give its name away any more, and what has the name is looked at once again.
    let lock = format!("LOCK TABLE ONLY {table} IN ACCESS SHARE MODE");
    transaction.batch_execute(&lock).await.map_err(failed())?;
    if look().await? != Some((oid, what)) {
        return Err(Error::Busy(table).into());
    }
    let count = format!("SELECT count(*) FROM {table}");
    let areas: i64 = transaction.query_one(&count, &[]).await.map_err(failed())?.get(0);
    Ok(Some(There { what, before: Before::Areas(areas.unsigned_abs()) }))
}

/// Sends the areas, as the file has them.
async fn deliver(transaction: &Transaction<'_>, areas: &Areas) -> Result<(), tokio_postgres::Error> {
    let names: Vec<&str> = areas.columns.iter().map(|column| column.name.as_str()).collect();
    let fields: String = names.iter().map(|name| format!(", {name} text")).collect();
    let create = format!(
        "SET LOCAL client_connection_check_interval = '1s';
         CREATE TEMPORARY TABLE delivered (n integer PRIMARY KEY, kind text, raw bytea{fields},
             geom public.geometry, mended text, fault text) ON COMMIT DROP"
    );
    transaction.batch_execute(&create).await?;
    let columns: String = names.iter().map(|name| format!(", {name}")).collect();
    let sink =
        transaction.copy_in(&format!("COPY delivered (n, kind, raw{columns}) FROM STDIN (FORMAT binary)")).await?;
    let mut sink = std::pin::pin!(sink);
    sink.feed(Bytes::from_static(crate::day::HEADER)).await?;
    for (n, area) in areas.areas.iter().enumerate() {
        sink.send(Bytes::from(row(n, area))).await?;
    }
    sink.feed(Bytes::from_static(crate::day::TRAILER)).await?;
    sink.as_mut().finish().await.map(drop)
}

/// An area in the binary form of COPY.
fn row(n: usize, area: &Area) -> Vec<u8> {
    let (kind, raw) = match &area.geometry {
        None => ("none", None),
        Some(Geometry::Wkt(text)) => ("wkt", Some(text.as_bytes())),
        Some(Geometry::GeoJson(text)) => ("json", Some(text.as_bytes())),
        Some(Geometry::Wkb(bytes)) => ("wkb", Some(bytes.as_slice())),
    };
    let mut row = ((3 + area.values.len()) as i16).to_be_bytes().to_vec();
    let mut field = |bytes: Option<&[u8]>| {
        row.extend(bytes.map_or(-1, |bytes| bytes.len() as i32).to_be_bytes());
        row.extend(bytes.unwrap_or_default());
    };
    field(Some(&(n as i32).to_be_bytes()));
    field(Some(kind.as_bytes()));
    field(raw);
    area.values.iter().for_each(|value| field(value.as_ref().map(|text| text.as_bytes())));
    row
}

/// Reads geometries and says of each what is wrong with it.
fn faults(srid: i32, mend: bool) -> String {
    let invalid = match mend {
        true => "UPDATE delivered SET mended = public.ST_IsValidReason(geom), geom = public.ST_CollectionExtract(public.ST_MakeValid(geom), 3)
                     WHERE fault IS NULL AND NOT public.ST_IsValid(geom);
                 UPDATE delivered SET fault = 'cannot be mended: ' || mended
                     WHERE mended IS NOT NULL AND public.ST_IsEmpty(geom);",
        false => "UPDATE delivered SET fault = 'is not valid: ' || public.ST_IsValidReason(geom) || ' (--mend mends it)'
                     WHERE fault IS NULL AND NOT public.ST_IsValid(geom);",
    };
    format!(
        "DO $$
         DECLARE
             area record;
             made public.geometry;
         BEGIN
             FOR area IN SELECT n, kind, raw FROM delivered WHERE raw IS NOT NULL LOOP
                 BEGIN
                     made := CASE area.kind
                         WHEN 'wkt' THEN public.ST_GeomFromEWKT(convert_from(area.raw, 'UTF8'))
                         WHEN 'json' THEN public.ST_SetSRID(public.ST_GeomFromGeoJSON(convert_from(area.raw, 'UTF8')), 0)
                         ELSE public.ST_GeomFromWKB(area.raw) END;
                     IF public.ST_SRID(made) = 0 THEN made := public.ST_SetSRID(made, {srid}); END IF;
                     made := public.ST_Force2D(made);
                     IF public.ST_SRID(made) <> 4326 THEN made := public.ST_Transform(made, 4326); END IF;
                     UPDATE delivered SET geom = made, raw = NULL WHERE n = area.n;
                 EXCEPTION WHEN OTHERS THEN
                     UPDATE delivered SET fault = 'cannot be read: ' || left(SQLERRM, 200) WHERE n = area.n;
                 END;
             END LOOP;
         END
         $$;
         UPDATE delivered SET fault = 'has no geometry' WHERE fault IS NULL AND (geom IS NULL OR public.ST_IsEmpty(geom));
         UPDATE delivered SET fault = 'is no area but a ' || public.GeometryType(geom)
             WHERE fault IS NULL AND public.GeometryType(geom) NOT IN ('POLYGON', 'MULTIPOLYGON');
         UPDATE delivered SET fault = format('has coordinates that are no degrees (%s to %s, %s to %s): are these metres of a projection? say with --srid which',
                 public.ST_XMin(geom), public.ST_XMax(geom), public.ST_YMin(geom), public.ST_YMax(geom))
             WHERE fault IS NULL AND NOT (public.ST_XMin(geom) >= -180 AND public.ST_XMax(geom) <= 180
                 AND public.ST_YMin(geom) >= -90 AND public.ST_YMax(geom) <= 90);
         {invalid}
         CREATE INDEX ON delivered USING gist (geom);
         ANALYZE delivered"
    )
}

/// Pairs that share ground, and how many more share but a sliver. Those are sound by themselves, so that it can be said.
async fn overlaps(transaction: &Transaction<'_>, areas: &Areas) -> Result<(Vec<String>, u64), tokio_postgres::Error> {
    let sql = "SELECT one, other, share, public.ST_Area(shared::public.geography) / 1e6
               FROM (SELECT one.n AS one, other.n AS other, shared,
                         public.ST_Area(shared) / least(public.ST_Area(one.geom), public.ST_Area(other.geom)) AS share
                     FROM delivered AS one JOIN delivered AS other
                         ON one.n < other.n AND one.fault IS NULL AND other.fault IS NULL AND one.geom OPERATOR(public.&&) other.geom
                     CROSS JOIN LATERAL public.ST_CollectionExtract(public.ST_Intersection(one.geom, other.geom), 3) AS shared) AS pairs
               WHERE share > 1e-12 ORDER BY share DESC, one, other";
    let (mut large, mut slivers) = (Vec::new(), 0);
    for row in transaction.query(sql, &[]).await? {
        let (share, area): (f64, f64) = (row.get(2), row.get(3));
        if share <= OVERLAP {
            slivers += 1;
            continue;
        }
        let (one, other) = (label(&areas.areas, row.get(0)), label(&areas.areas, row.get(1)));
        large.push(format!("{one} and {other} overlap: {area:.3} km², {:.0} % of the smaller", share * 100.0));
    }
    Ok((large, slivers))
}

async fn gaps(transaction: &Transaction<'_>) -> Result<Option<Gaps>, tokio_postgres::Error> {
    let sql = "WITH gaps AS (
                   SELECT (ring).geom, public.ST_Area((ring).geom::public.geography) / 1e6 AS area
                   FROM (SELECT public.ST_Union(geom) AS geom FROM delivered) AS whole,
                       LATERAL public.ST_Dump(whole.geom) AS part, LATERAL public.ST_DumpRings(part.geom) AS ring
                   WHERE (ring).path[1] > 0)
               SELECT (SELECT count(*) FROM gaps), area, public.ST_X(inside), public.ST_Y(inside)
               FROM gaps, LATERAL public.ST_PointOnSurface(geom) AS inside ORDER BY area DESC LIMIT 1";
    let row = transaction.query_opt(sql, &[]).await?;
    Ok(row.map(|row| Gaps {
        count: row.get::<_, i64>(0).unsigned_abs(),
        largest: row.get(1),
        place: [row.get(2), row.get(3)],
    }))
}

/// Whether each place of a cell is counted, and once.
async fn cells(transaction: &Transaction<'_>) -> Result<[u64; 3], tokio_postgres::Error> {
    let sql =
        "SELECT count(*) FILTER (WHERE areas = 0), count(*) FILTER (WHERE areas = 1), count(*) FILTER (WHERE areas > 1)
               FROM (SELECT count(delivered.n) AS areas FROM infrastructure.cells
                     LEFT JOIN delivered ON public.ST_Within(geom_point, geom)
                     WHERE geom_point IS NOT NULL GROUP BY cell_id) AS counted";
    let row = transaction.query_one(sql, &[]).await?;
    Ok([0, 1, 2].map(|at| row.get::<_, i64>(at).unsigned_abs()))
}

async fn stored(transaction: &Transaction<'_>, level: u8) -> Result<u64, tokio_postgres::Error> {
    let sql =
        "SELECT count(*) FROM cache.cached WHERE position($1 IN query) > 0 AND class NOT IN ('Table', 'GeoTable')";
    let row = transaction.query_one(sql, &[&format!("geography.admin{level}")]).await?;
    Ok(row.get::<_, i64>(0).unsigned_abs())
}

/// Makes the table beside what is there, and puts it in its place.
async fn make(mut transaction: Transaction<'_>, areas: &Areas, there: Option<&str>) -> Result<(), Error> {
    let level = areas.level;
    let failed = || Error::when(format!("make geography.admin{level}"));
    let [code, _] = own(level);
    let names: Vec<&str> = areas.columns.iter().map(|column| column.name.as_str()).collect();
    let list = names.join(", ");
    let fields: String = names.iter().map(|name| format!("{name} text, ")).collect();
    let table = format!("geography.new_admin{level}");
    let create = format!(
        "CREATE TABLE {table} (gid integer PRIMARY KEY, {fields}geom public.geometry(MultiPolygon, 4326) NOT NULL);
         INSERT INTO {table} (gid, {list}, geom)
             SELECT row_number() OVER (ORDER BY {code}, n), {list}, public.ST_Multi(geom) FROM delivered;
         CREATE INDEX ON {table} USING gist (geom);
         COMMENT ON TABLE {table} IS 'loaded by flowkit etl geography 1';
         ANALYZE {table}"
    );
    transaction.batch_execute(&create).await.map_err(failed())?;
    if let Some(what) = there {
        away(&mut transaction, what, level).await?;
    }
    // Names of indexes mean nothing to anybody; a level that was put aside under another name has kept them.
    let rename = format!(
        "ALTER TABLE {table} RENAME TO admin{level};
         DO $$
         DECLARE
             name text;
         BEGIN
             FOREACH name IN ARRAY ARRAY['admin{level}_pkey', 'admin{level}_geom_idx'] LOOP
                 IF to_regclass('geography.' || name) IS NULL THEN
                     EXECUTE format('ALTER INDEX geography.new_%s RENAME TO %I', name, name);
                 END IF;
             END LOOP;
         END
         $$"
    );
    transaction.batch_execute(&rename).await.map_err(failed())?;
    transaction.commit().await.map_err(failed())
}

/// Removes the old one. Asks for the lock a moment at a time, so that nobody has to wait behind us for a long query.
async fn away(transaction: &mut Transaction<'_>, what: &str, level: u8) -> Result<(), Error> {
    let failed = || Error::when(format!("remove the old geography.admin{level}"));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let attempt = transaction.transaction().await.map_err(failed())?;
        let drop = format!("SET LOCAL lock_timeout = '{LOCK}'; DROP {what} geography.admin{level}");
        match attempt.batch_execute(&drop).await {
            Ok(()) => return attempt.commit().await.map_err(failed()),
            Err(error) if error.code() != Some(&SqlState::LOCK_NOT_AVAILABLE) => return Err(failed()(error)),
            Err(_) if Instant::now() > deadline => return Err(Error::Busy(format!("geography.admin{level}"))),
            Err(_) => attempt.rollback().await.map_err(failed())?,
        }
        tokio::time::sleep(PAUSE).await;
    }
}
