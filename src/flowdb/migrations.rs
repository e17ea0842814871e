//! FlowDB's schema, version by version.

use postgres::Migrations;

/// FlowDB's migrations.
pub const MIGRATIONS: Migrations = Migrations { files: FILES, made_by: Some(MADE_BY) };

const MADE_BY: &str = "SELECT appliance FROM public.flowdb_version";

const FILES: &[(&str, &str)] = &[
    ("V1__extensions", include_str!("migrations/V1__extensions.sql")),
    ("V2__lookups", include_str!("migrations/V2__lookups.sql")),
    ("V3__events", include_str!("migrations/V3__events.sql")),
    ("V4__infrastructure", include_str!("migrations/V4__infrastructure.sql")),
    ("V5__geography", include_str!("migrations/V5__geography.sql")),
    ("V6__etl", include_str!("migrations/V6__etl.sql")),
    ("V7__dfs", include_str!("migrations/V7__dfs.sql")),
    ("V8__cache", include_str!("migrations/V8__cache.sql")),
    ("V9__utilities", include_str!("migrations/V9__utilities.sql")),
    ("V10__hartigan", include_str!("migrations/V10__hartigan.sql")),
    ("V11__grid", include_str!("migrations/V11__grid.sql")),
    ("V12__viewshed", include_str!("migrations/V12__viewshed.sql")),
    ("V13__running_queries", include_str!("migrations/V13__running_queries.sql")),
    ("V14__cache", include_str!("migrations/V14__cache.sql")),
    ("V15__arguments", include_str!("migrations/V15__arguments.sql")),
    ("V16__latest_state", include_str!("migrations/V16__latest_state.sql")),
    ("V17__sessions", include_str!("migrations/V17__sessions.sql")),
    ("V18__figures", include_str!("migrations/V18__figures.sql")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_listed_and_versions_count_up() {
        let mut on_disk: Vec<String> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/flowdb/migrations"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap().replace(".sql", ""))
            .collect();
        let mut listed: Vec<String> = FILES.iter().map(|(name, _)| name.to_string()).collect();
        let versions: Vec<usize> =
            FILES.iter().map(|(name, _)| name[1..].split("__").next().unwrap().parse().unwrap()).collect();
        assert_eq!(versions, (1..=FILES.len()).collect::<Vec<_>>());
        assert_eq!(MIGRATIONS.latest() as usize, FILES.len());
        on_disk.sort();
        listed.sort();
        assert_eq!(on_disk, listed);
    }
}
