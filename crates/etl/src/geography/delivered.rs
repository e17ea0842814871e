//! Areas as they were delivered: a table that is gone with the transaction, of which PostGIS is asked what they mean.

use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::Transaction;

use super::{Gaps, label};
use crate::areas::{Area, Areas};
use crate::features::Geometry;

/// The share of the smaller of two areas above which they overlap. What is less are outlines that were drawn twice.
const OVERLAP: f64 = 0.01;
/// Sends the areas, as the file has them.
pub async fn deliver(transaction: &Transaction<'_>, areas: &Areas) -> Result<(), tokio_postgres::Error> {
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
pub fn faults(srid: i32, mend: bool) -> String {
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
pub async fn overlaps(
    transaction: &Transaction<'_>,
    areas: &Areas,
) -> Result<(Vec<String>, u64), tokio_postgres::Error> {
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

/// Ground between them that is nobody's.
pub async fn gaps(transaction: &Transaction<'_>) -> Result<Option<Gaps>, tokio_postgres::Error> {
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
pub async fn cells(transaction: &Transaction<'_>) -> Result<[u64; 3], tokio_postgres::Error> {
    let sql =
        "SELECT count(*) FILTER (WHERE areas = 0), count(*) FILTER (WHERE areas = 1), count(*) FILTER (WHERE areas > 1)
               FROM (SELECT count(delivered.n) AS areas FROM infrastructure.cells
                     LEFT JOIN delivered ON public.ST_Within(geom_point, geom)
                     WHERE geom_point IS NOT NULL GROUP BY cell_id) AS counted";
    let row = transaction.query_one(sql, &[]).await?;
    Ok([0, 1, 2].map(|at| row.get::<_, i64>(at).unsigned_abs()))
}
