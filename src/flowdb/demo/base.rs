//! What does not change from day to day: areas, sites, cells, handsets, accounts. And what a database already holds.

use std::collections::BTreeMap;

use time::{Date, Duration};
use tokio_postgres::{Client, Transaction};

use super::copy::Rows;
use super::day::{partition, send};
use super::handsets::{Kind, Model};
use super::network::{Cell, MOVING_DAY, Network, Site};
use super::shape::{multipolygon_ewkb, point_ewkb};
use super::traffic::Event;
use super::{Error, MARK, Options, World, money};

/// The days that are yet to be loaded. An error when something else is in their place.
pub async fn missing_days(client: &Client, world: &World, options: &Options) -> Result<Vec<u32>, Error> {
    let marker = options.marker();
    let names: Vec<String> =
        (0..options.days).flat_map(|day| Event::ALL.map(|event| partition(event, world.date(day)))).collect();
    let sql = "SELECT relname::text, coalesce(obj_description(oid, 'pg_class'), '') FROM pg_class \
               WHERE relnamespace = 'events'::regnamespace AND relname = ANY($1)";
    let rows = client.query(sql, &[&names]).await.map_err(Error::when("look for partitions"))?;
    let there: BTreeMap<String, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    for (name, comment) in &there {
        ours(&format!("events.{name}"), comment, &marker)?;
    }
    let complete = |day: u32| Event::ALL.iter().all(|&event| there.contains_key(&partition(event, world.date(day))));
    let missing: Vec<u32> = (0..options.days).filter(|&day| !complete(day)).collect();
    for &day in &missing {
        nothing_else(client, world.date(day)).await?;
    }
    Ok(missing)
}

/// Whether a table is ours, made with the same options.
fn ours(table: &str, comment: &str, marker: &str) -> Result<(), Error> {
    if comment == marker {
        Ok(())
    } else if comment.starts_with(MARK) {
        Err(Error::Different { found: comment.to_owned(), wanted: marker.to_owned() })
    } else {
        Err(Error::Foreign { what: table.to_owned() })
    }
}

/// Refuses a day that has records, in whatever partition.
async fn nothing_else(client: &Client, date: Date) -> Result<(), Error> {
    let next = date + Duration::DAY;
    let columns = Event::ALL.map(|event| (format!("events.{}", event.name()), "datetime"));
    for (table, column) in columns.into_iter().chain([("dfs.transactions".to_owned(), "\"timestamp\"")]) {
        let sql = format!(
            "SELECT EXISTS (SELECT FROM {table} WHERE {column} >= '{date} 00:00:00+00' AND {column} < '{next} 00:00:00+00')"
        );
        let row = client.query_one(&sql, &[]).await.map_err(Error::when(format!("look into {table}")))?;
        if row.get(0) {
            return Err(Error::Foreign { what: format!("{table} on {date}") });
        }
    }
    Ok(())
}

/// A load that was interrupted has used up numbers; the tables are empty, so the next one begins where that one did.
const NUMBER_ANEW: &str = "
    ALTER SEQUENCE infrastructure.sites_site_id_seq RESTART;
    ALTER SEQUENCE infrastructure.cells_cell_id_seq RESTART;
    ALTER SEQUENCE geography.geoms_gid_seq RESTART;
    ALTER SEQUENCE dfs.subscribers_id_seq RESTART";

/// Loads what does not change, unless it is there.
pub async fn load(client: &mut Client, world: &World, marker: &str) -> Result<(), Error> {
    let what = || Error::when("load areas, sites, cells and handsets");
    let sql = "SELECT coalesce(obj_description(to_regclass('geography.admin0'), 'pg_class'), '') \
               WHERE to_regclass('geography.admin0') IS NOT NULL";
    if let Some(row) = client.query_opt(sql, &[]).await.map_err(what())? {
        return ours("geography.admin0", row.get(0), marker);
    }
    let tables = ["infrastructure.sites", "infrastructure.cells", "infrastructure.tacs", "dfs.subscribers"];
    for table in tables.into_iter().chain(["dfs.transaction_types", "geography.geoms"]) {
        let full = format!("SELECT EXISTS (SELECT FROM {table})");
        if client.query_one(&full, &[]).await.map_err(what())?.get(0) {
            return Err(Error::Foreign { what: table.to_owned() });
        }
    }
    let transaction = client.transaction().await.map_err(what())?;
    transaction.batch_execute(NUMBER_ANEW).await.map_err(what())?;
    areas(&transaction, world).await.map_err(what())?;
    infrastructure(&transaction, world).await.map_err(what())?;
    accounts(&transaction, world).await.map_err(what())?;
    let comment = format!("COMMENT ON TABLE geography.admin0 IS '{marker}'");
    transaction.batch_execute(&comment).await.map_err(what())?;
    transaction.commit().await.map_err(what())
}

/// `geography.geoms` and, with the names that FlowMachine asks for, `geography.admin0` to `admin3`.
async fn areas(transaction: &Transaction<'_>, world: &World) -> Result<(), tokio_postgres::Error> {
    let levels = &world.country.levels;
    for (level, units) in levels.iter().enumerate() {
        // Each area repeats names and codes of those it belongs to.
        let names = (0..=level).map(|l| format!("admin{l}name, admin{l}pcod")).collect::<Vec<_>>().join(", ");
        let columns =
            (0..=level).map(|l| format!("admin{l}name text, admin{l}pcod text")).collect::<Vec<_>>().join(", ");
        let table = format!("geography.admin{level}");
        let create =
            format!("CREATE TABLE {table} (gid integer PRIMARY KEY, {columns}, geom geometry(MultiPolygon, 4326))");
        transaction.batch_execute(&create).await?;
        let make = |index: usize, rows: &mut Rows| {
            rows.row(2 * level as i16 + 4).int(index as i32 + 1);
            for unit in lineage(world, level, index) {
                rows.text(&unit.name).text(&unit.pcode);
            }
            rows.field(&area(world, level, index));
        };
        copy(transaction, &format!("{table} (gid, {names}, geom)"), units.len(), make).await?;
        let geoms = "geography.geoms (short_name, long_name, spatial_resolution, additional_metadata, geom)";
        let make = |index: usize, rows: &mut Rows| {
            let unit = &units[index];
            rows.row(5).text(&unit.pcode).text(&unit.name).int(level as i32);
            match level {
                0 => rows.null(),
                _ => rows.text(&format!("{{\"parent\": \"{}\"}}", levels[level - 1][unit.parent].pcode)),
            };
            rows.field(&area(world, level, index));
        };
        copy(transaction, geoms, units.len(), make).await?;
        let index = format!("CREATE INDEX admin{level}_geom_idx ON {table} USING gist (geom); ANALYZE {table}");
        transaction.batch_execute(&index).await?;
    }
    Ok(())
}

/// An area and those it belongs to, the country first.
fn lineage(world: &World, level: usize, index: usize) -> Vec<&super::country::Unit> {
    let mut lineage = vec![&world.country.levels[level][index]];
    for above in (0..level).rev() {
        let parent = lineage[lineage.len() - 1].parent;
        lineage.push(&world.country.levels[above][parent]);
    }
    lineage.reverse();
    lineage
}

fn area(world: &World, level: usize, index: usize) -> Vec<u8> {
    let rings = &world.country.levels[level][index].rings;
    let degrees = |ring: &super::shape::Ring| ring.iter().map(|point| point.degrees()).collect::<Vec<_>>();
    multipolygon_ewkb(&rings.iter().map(degrees).collect::<Vec<_>>())
}

async fn infrastructure(transaction: &Transaction<'_>, world: &World) -> Result<(), tokio_postgres::Error> {
    let network = &world.network;
    let sites = "infrastructure.sites (id, version, name, type, status, structure_type, is_cow, date_of_first_service, \
                 date_of_last_service, geom_point, geom_polygon)";
    copy(transaction, sites, network.sites.len(), |index, rows| {
        (0..network.sites[index].placements.len()).for_each(|version| site(world, index, version, rows));
    })
    .await?;
    let cells = "infrastructure.cells (id, version, site_id, name, type, antenna_type, status, lac, height, azimuth, \
                 max_range, min_range, date_of_first_service, date_of_last_service, geom_point, geom_polygon)";
    copy(transaction, cells, network.cells.len(), |index, rows| {
        let cell = &network.cells[index];
        let site = &network.sites[cell.site as usize];
        (0..site.placements.len()).for_each(|version| self::cell(world, cell, site, version, rows));
    })
    .await?;
    let columns = format!("infrastructure.tacs ({}, {})", TAC_COLUMNS, CAPABILITIES.map(|(name, _)| name).join(", "));
    copy(transaction, &columns, world.models.len(), |index, rows| model(&world.models[index], rows)).await?;
    transaction.batch_execute("ANALYZE infrastructure.sites, infrastructure.cells, infrastructure.tacs").await
}

fn site(world: &World, index: usize, version: usize, rows: &mut Rows) {
    let site = &world.network.sites[index];
    let placement = &site.placements[version];
    let ward = &world.country.levels[3][placement.ward];
    rows.row(11).text(&Network::site_id(index)).int(version as i32).text(&format!("{} {}", ward.name, index));
    rows.text("macro").text("in service").text(if site.placements.len() > 1 { "trailer" } else { "tower" });
    rows.boolean(site.placements.len() > 1);
    service_dates(world, site, version, rows);
    rows.field(&point_ewkb(placement.point)).field(&multipolygon_ewkb(&[&placement.area]));
}

fn cell(world: &World, cell: &Cell, site: &Site, version: usize, rows: &mut Rows) {
    let azimuth = cell.azimuth(site);
    rows.row(16).text(&cell.id).int(version as i32).text(&Network::site_id(cell.site as usize));
    rows.text(&format!("{} {}", Network::site_id(cell.site as usize), cell.sector + 1));
    rows.text("4G").text(if azimuth.is_some() { "sector" } else { "omni" }).text("in service");
    rows.text(&world.country.levels[2][world.country.district(site.placements[version].ward)].pcode);
    rows.numeric(30).numeric(azimuth.unwrap_or(0) as u64).numeric(25_000).numeric(0);
    service_dates(world, site, version, rows);
    rows.field(&point_ewkb(site.placements[version].point)).field(&multipolygon_ewkb(&[cell.area(site, version)]));
}

/// First and last day of service. A first version began the year before the data; the ranges of two versions don't meet,
/// for FlowMachine counts both ends in.
fn service_dates(world: &World, site: &Site, version: usize, rows: &mut Rows) {
    let moved = world.date(MOVING_DAY);
    rows.date(if version == 0 { world.first_day - Duration::days(365) } else { moved });
    match version + 1 < site.placements.len() {
        true => rows.date(moved - Duration::DAY),
        false => rows.null(),
    };
}

const TAC_COLUMNS: &str = "id, brand, model, height, width, depth, weight, display_type, display_height, display_width, \
                           software_os_vendor, software_os_name, software_os_version, hnd_type";

/// Columns that say what a handset can, and the simplest kind that can. Those for remote settings by text message are
/// what feature phones had.
const CAPABILITIES: [(&str, Kind); 16] = [
    ("display_colors", Kind::Feature),
    ("mms_receiver", Kind::Feature),
    ("mms_built_in_camera", Kind::Feature),
    ("wap_push_ota_support", Kind::Basic),
    ("hardware_gprs", Kind::Basic),
    ("hardware_edge", Kind::Feature),
    ("hardware_umts", Kind::Smart),
    ("hardware_wifi", Kind::Smart),
    ("hardware_bluetooth", Kind::Feature),
    ("hardware_gps", Kind::Smart),
    ("wap_push_ota_settings", Kind::Basic),
    ("wap_push_ota_app_internet", Kind::Feature),
    ("wap_push_ota_app_mms", Kind::Feature),
    ("wap_2_0", Kind::Feature),
    ("j2me_midp_20", Kind::Feature),
    ("j2me_cldc_11", Kind::Feature),
];

fn model(model: &Model, rows: &mut Rows) {
    rows.row(14 + CAPABILITIES.len() as i16).numeric(model.tac.into()).text(model.brand).text(&model.name);
    model.size.iter().for_each(|&size| _ = rows.numeric(size.into()));
    rows.text(if model.kind == Kind::Smart { "touch" } else { "LCD" });
    model.display.iter().for_each(|&pixels| _ = rows.numeric(pixels.into()));
    for index in 0..3 {
        match model.system {
            Some(system) => rows.text(system[index]),
            None => rows.null(),
        };
    }
    rows.text(model.kind.name());
    CAPABILITIES.iter().for_each(|&(_, least)| _ = rows.boolean(model.kind >= least));
}

/// Mobile money: kinds of transaction, and an account for everybody.
async fn accounts(transaction: &Transaction<'_>, world: &World) -> Result<(), tokio_postgres::Error> {
    copy(
        transaction,
        "dfs.transaction_types (id, descr, user_type_a_party, user_type_b_party)",
        money::TYPES.len(),
        |index, rows| {
            rows.row(4).int(index as i32 + 1);
            money::TYPES[index].iter().for_each(|text| _ = rows.text(text));
        },
    )
    .await?;
    copy(transaction, "dfs.subscribers (id, msisdn)", world.people.len(), |index, rows| {
        rows.row(2).bigint(index as i64 + 1).hex(&world.people[index].msisdn);
    })
    .await?;
    // Whoever adds rows later gets ids of their own.
    transaction
        .batch_execute(
            "SELECT setval(pg_get_serial_sequence('dfs.transaction_types', 'id'), max(id)) FROM dfs.transaction_types; \
             SELECT setval(pg_get_serial_sequence('dfs.subscribers', 'id'), max(id)) FROM dfs.subscribers",
        )
        .await
}

/// Copies what `make` appends for each index below `count`.
async fn copy(
    transaction: &Transaction<'_>,
    target: &str,
    count: usize,
    make: impl Fn(usize, &mut Rows),
) -> Result<(), tokio_postgres::Error> {
    let sql = format!("COPY {target} FROM STDIN (FORMAT binary)");
    send(transaction, &sql, count as u32, |range, rows| range.for_each(|index| make(index as usize, rows))).await?;
    Ok(())
}
