//! Areas of every form become a level that FlowMachine counts by; what is broken is named, and changes nothing.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::forms::{self, DEGREES, METRES, Place, squares};
use super::{Rig, SUPERUSER, Said};
use crate::support::flowdb::FLOWMACHINE;
use crate::support::flowmachine::{FlowMachine, daily_location};

const NAMES: [&str; 2] = ["ADM2_PCODE", "ADM2_FR"];
const THERE: &str = "SELECT admin2pcod, admin2name, ST_AsText(ST_Normalize(geom)) FROM geography.admin2 ORDER BY gid";

fn load(rig: &Rig, options: &[&str], file: &Path) -> Said {
    rig.run(&[&["geography", "admin2"], options].concat(), &[file])
}

/// Everything in the directory of files is the service user's.
fn given(rig: &Rig, file: PathBuf) -> PathBuf {
    for entry in std::fs::read_dir(rig.files.path()).expect("a directory") {
        rig.cluster.give(&entry.expect("an entry").path());
    }
    file
}

#[test]
fn areas_are_the_same_in_every_form() {
    let rig = Rig::started();
    let dir = rig.files.path();
    let expected = [
        "HT01 Grand'Anse MULTIPOLYGON(((-75 18,-75 19,-74 19,-74 18,-75 18)))",
        "HT02 Artibonite é MULTIPOLYGON(((-74 18,-74 19,-73 19,-73 18,-74 18)))",
        "HT03 Nippes MULTIPOLYGON(((-75 19,-75 20,-74 20,-74 19,-75 19)))",
        "HT04 Ouest MULTIPOLYGON(((-74 19,-74 20,-73 20,-73 19,-74 19)))",
    ];
    let csv = rig.file("areas.csv", forms::wkt(&squares(), NAMES));
    let check = load(&rig, &["--check"], &csv);
    assert_eq!((check.status, check.stdout.as_str()), (Some(0), "4 areas; nothing was changed\n"), "{check:?}");
    assert_eq!(rig.value("SELECT to_regclass('geography.admin2') IS NULL"), "t");
    let said = load(&rig, &[], &csv);
    assert_eq!((said.status, said.stdout.as_str()), (Some(0), "geography.admin2: 4 areas\n"), "{said:?}");
    let guessed = "admin2pcod is ADM2_PCODE: \"HT01\", \"HT02\", \"HT03\"\nadmin2name is ADM2_FR: \"Grand'Anse\", \"Artibonite é\", \"Nippes\"\n";
    assert_eq!(said.stderr, guessed);
    assert_eq!(rig.ask(THERE), expected);
    // As FlowMachine and FlowAPI need it: rights, an index, statistics, and a place among the tables that are looked for.
    let rights = "SELECT has_table_privilege('flowmachine', 'geography.admin2', 'SELECT'), has_table_privilege('flowkit_reader', 'geography.admin2', 'SELECT')";
    assert_eq!(rig.ask(rights), ["t t"]);
    let indexes = "SELECT indexname FROM pg_indexes WHERE schemaname = 'geography' AND tablename = 'admin2' ORDER BY 1";
    assert_eq!(rig.ask(indexes), ["admin2_geom_idx", "admin2_pkey"]);
    assert_eq!(rig.value("SELECT reltuples FROM pg_class WHERE oid = 'geography.admin2'::regclass"), "4");

    let again = load(&rig, &[], &csv);
    assert_eq!(again.status, Some(2), "{again:?}");
    assert!(
        again.stderr.contains("nothing was changed: geography.admin2 is there, with 4 areas; --replace puts"),
        "{again:?}"
    );

    let shp = given(&rig, forms::shapefile(dir, "areas", &squares(), NAMES, DEGREES));
    let files = [
        rig.file("areas.geojson", forms::geojson(&squares(), NAMES)),
        given(&rig, forms::zipped(&shp)),
        shp,
        given(&rig, forms::geopackage(dir, "areas.gpkg", &squares(), NAMES, 4326)),
        rig.file("areas.csv.gz", super::gzip(&forms::wkt(&squares(), NAMES))),
    ];
    for file in files {
        // One that is not the same, so that the next one has something to put right.
        rig.cluster.run(SUPERUSER, "DELETE FROM geography.admin2 WHERE gid = 3").expect("a deletion");
        let said = load(&rig, &["--replace"], &file);
        assert_eq!(
            (said.status, said.stdout.as_str()),
            (Some(0), "geography.admin2: 4 areas, in place of 3\n"),
            "{said:?}"
        );
        assert_eq!(said.stderr, guessed, "{}", file.display());
        assert_eq!(rig.ask(THERE), expected, "{}", file.display());
    }

    // A plain view over geography.geoms, as others make levels, gives way as well; one that somebody has built on does not.
    rig.cluster.run(SUPERUSER, "DROP TABLE geography.admin2; CREATE VIEW geography.admin2 AS SELECT gid, short_name AS admin2pcod, long_name AS admin2name, geom FROM geography.geoms").expect("a view");
    assert_eq!(load(&rig, &["--replace"], &csv).stdout, "geography.admin2: 4 areas, in place of a view\n");
    rig.cluster
        .run(SUPERUSER, "CREATE VIEW geography.mine AS SELECT admin2pcod FROM geography.admin2")
        .expect("a view");
    let said = load(&rig, &["--replace"], &csv);
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(
        said.stderr.contains("cannot remove the old geography.admin2")
            && said.stderr.contains("other objects depend on it"),
        "{said:?}"
    );
    assert_eq!(rig.ask(THERE), expected);
}

/// FlowMachine and analysts may make relations in schema geography. What they put in a level's place is neither asked nor removed by the
/// one who may do all: their code would run with those rights.
#[test]
fn a_level_that_somebody_else_made_is_not_looked_at() {
    let rig = Rig::started();
    let csv = rig.file("areas.csv", forms::wkt(&squares(), NAMES));
    // Numbers that were taken stay so, whatever becomes of the transaction.
    let evil = "CREATE SCHEMA evil; CREATE SEQUENCE evil.seen;
        CREATE FUNCTION evil.look() RETURNS boolean LANGUAGE sql AS $$ SELECT nextval('evil.seen') > 0 $$";
    rig.cluster.run(FLOWMACHINE, evil).expect("a schema");
    for (what, create) in [
        ("VIEW", "CREATE VIEW geography.admin2 AS SELECT 1 AS gid WHERE evil.look()"),
        (
            "MATERIALIZED VIEW",
            "CREATE MATERIALIZED VIEW geography.admin2 AS SELECT 1 AS gid WHERE evil.look() WITH NO DATA",
        ),
        ("TABLE", "CREATE TABLE geography.admin2 (gid integer, CHECK (evil.look()))"),
    ] {
        rig.cluster.run(FLOWMACHINE, create).expect("a relation");
        for options in [&[][..], &["--replace"], &["--check"], &["--check", "--replace"]] {
            let said = load(&rig, options, &csv);
            assert_eq!(said.status, Some(2), "{said:?}");
            let refused = format!("geography.admin2 is the {what} of \"{FLOWMACHINE}\", not FlowDB's own");
            assert!(said.stderr.contains(&refused), "{said:?}");
        }
        assert_eq!(rig.value("SELECT is_called FROM evil.seen"), "f", "{what}");
        rig.cluster.run(FLOWMACHINE, &format!("DROP {what} geography.admin2")).expect("it is theirs");
    }
    // A view of the owner's may stand on one of theirs: it gives way, unasked.
    rig.cluster.run(FLOWMACHINE, "CREATE VIEW geography.theirs AS SELECT 1 AS gid WHERE evil.look()").expect("a view");
    rig.cluster.run(SUPERUSER, "CREATE VIEW geography.admin2 AS SELECT * FROM geography.theirs").expect("a view");
    assert!(load(&rig, &[], &csv).stderr.contains("geography.admin2 is there, a view; --replace"));
    assert_eq!(load(&rig, &["--replace"], &csv).stdout, "geography.admin2: 4 areas, in place of a view\n");
    assert_eq!(rig.value("SELECT is_called FROM evil.seen"), "f");
}

#[test]
fn metres_become_degrees_where_the_file_says_which() {
    let rig = Rig::started();
    let dir = rig.files.path();
    let metres = |place: &Place| -> Place {
        let points: Vec<String> = place.2.iter().map(|[x, y]| format!("ST_Point({x}, {y}, 4326)")).collect();
        let sql = format!(
            "SELECT ST_X(p), ST_Y(p) FROM unnest(ARRAY[{}]) WITH ORDINALITY AS all_(g, n), ST_Transform(g, 32618) AS p ORDER BY n",
            points.join(",")
        );
        let ring = rig
            .cluster
            .ask(SUPERUSER, &sql)
            .iter()
            .map(|row| [0, 1].map(|at| row[at].parse().expect("a number")))
            .collect();
        (place.0, place.1, ring)
    };
    let places: Vec<Place> = squares().iter().map(metres).collect();
    let said = load(&rig, &[], &rig.file("areas.csv", forms::wkt(&squares(), NAMES)));
    assert_eq!(said.status, Some(0), "{said:?}");
    rig.cluster.run(SUPERUSER, "ALTER TABLE geography.admin2 RENAME TO degrees").expect("another name");
    let files = [
        (given(&rig, forms::shapefile(dir, "metres", &places, NAMES, METRES)), &["--replace"][..]),
        (given(&rig, forms::geopackage(dir, "metres.gpkg", &places, NAMES, 32618)), &["--replace"]),
        (rig.file("metres.csv", forms::wkt(&places, NAMES)), &["--replace", "--srid", "32618"]),
        (rig.file("own.csv", forms::wkt(&places, NAMES).replace("MULTI", "SRID=32618;MULTI")), &["--replace"]),
    ];
    for (file, options) in &files {
        let said = load(&rig, options, file);
        assert_eq!(said.status, Some(0), "{said:?}");
        let far = "SELECT max(ST_HausdorffDistance(a.geom, b.geom)) < 1e-9, count(*) FROM geography.admin2 a JOIN geography.degrees b USING (admin2pcod)";
        assert_eq!(rig.ask(far), ["t 4"], "{}", file.display());
    }

    // Where it does not say, or says what nobody knows by number, nothing is guessed.
    let said = load(&rig, &["--replace"], &files[2].0);
    assert_eq!(said.status, Some(2), "{said:?}");
    assert!(said.stderr.contains("line 2 (\"HT01\") has coordinates that are no degrees ("), "{said:?}");
    assert!(said.stderr.contains("are these metres of a projection? say with --srid which"), "{said:?}");
    let odd = given(
        &rig,
        forms::shapefile(dir, "odd", &places, NAMES, &METRES.replace("WGS_1984_UTM_Zone_18N", "Grille_1964")),
    );
    let said = load(&rig, &["--replace"], &odd);
    assert_eq!(said.status, Some(2), "{said:?}");
    assert!(said.stderr.contains("its coordinates are counted in \"Grille_1964\", which has no EPSG code there: look it up, and give --srid CODE"), "{said:?}");
    assert_eq!(load(&rig, &["--replace", "--srid", "32618"], &odd).status, Some(0));
    let said = load(&rig, &["--replace", "--srid", "654321"], &odd);
    assert_eq!(said.status, Some(2), "{said:?}");
    assert!(said.stderr.contains("(\"HT01\") cannot be read: ") && said.stderr.contains("654321"), "{said:?}");
}

#[test]
fn what_is_broken_is_named_and_changes_nothing() {
    let rig = Rig::started();
    rig.cluster.run(SUPERUSER, "INSERT INTO infrastructure.cells (id, version, geom_point) VALUES ('in', 0, ST_Point(1, 1, 4326)), ('both', 0, ST_Point(3.5, 1, 4326)), ('out', 0, ST_Point(50, 1, 4326))").expect("cells");
    let try_ = |options: &[&str], text: &str| load(&rig, options, &rig.file("areas.csv", text));
    let header = "code;name;geom\n";
    let good = "A;a;POLYGON((0 0,4 0,4 4,0 4,0 0))\n";
    let semicolon = ["--delimiter", ";"];

    // What each area is by itself, all at once.
    let bad = format!(
        "{header}{good}B;b;POLYGON((10 0,14 4,14 0,10 4,10 0))\nC;c;POLYGON((20 0,24 0,24 4\nD;d;LINESTRING(0 0,1 1)\nE;e;\nF;f;POLYGON((500000 0,500004 0,500004 4,500000 4,500000 0))\nG;g;POLYGON EMPTY\nH;h;POLYGON((0 0,1 1,0 0))\n"
    );
    let said = try_(&semicolon, &bad);
    assert_eq!(said.status, Some(2), "{said:?}");
    for line in [
        "nothing was changed; 7 of the areas can't be taken:",
        "  line 3 (\"B\") is not valid: Self-intersection[12 2] (--mend mends it)",
        "  line 4 (\"C\") cannot be read: parse error - invalid geometry",
        "  line 5 (\"D\") is no area but a LINESTRING",
        "  line 6 (\"E\") has no geometry",
        "  line 7 (\"F\") has coordinates that are no degrees (500000 to 500004, 0 to 4)",
        "  line 8 (\"G\") has no geometry",
        "  line 9 (\"H\") cannot be read: geometry requires more points",
    ] {
        assert!(said.stderr.contains(line), "{line}: {said:?}");
    }
    let said = try_(
        &semicolon,
        &format!("{header}{good}A;b;POLYGON((10 0,14 0,14 4,10 0))\n;c;POLYGON((20 0,24 0,24 4,20 0))\n"),
    );
    assert_eq!(said.status, Some(2), "{said:?}");
    assert!(
        said.stderr.contains(
            "2 of the areas can't be taken:\n  line 3 (\"A\") has the same code as line 2\n  line 4 has no code\n"
        ),
        "{said:?}"
    );
    // Of whatever sort it is.
    let said = try_(
        &semicolon,
        &format!("{header}{good}A;b;POLYGON((10 0,14 4,14 0,10 4,10 0))\nC;c;POLYGON((3 0,7 0,7 4,3 4,3 0))\n"),
    );
    let (code, form, ground) = (
        "line 3 (\"A\") has the same code as line 2",
        "line 3 (\"A\") is not valid: ",
        "line 2 (\"A\") and line 4 (\"C\") overlap: ",
    );
    assert!(said.stderr.contains("3 of the areas can't be taken:\n"), "{said:?}");
    assert!([code, form, ground].iter().all(|line| said.stderr.contains(line)), "{said:?}");
    assert_eq!(rig.value("SELECT to_regclass('geography.admin2') IS NULL"), "t");

    // Mended when it is asked for, and said.
    let bow = format!("{header}{good}B;b;POLYGON((10 0,14 4,14 0,10 4,10 0))\n");
    let said = try_(&["--delimiter", ";", "--mend", "--check"], &bow);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.stderr.contains("mended: line 3 (\"B\") Self-intersection[12 2]\n"), "{said:?}");

    // Areas that share ground, and what that means for cells; outlines that cross a little are but counted.
    let both = format!(
        "{header}{good}B;b;POLYGON((3 0,7 0,7 4,3 4,3 0))\nC;c;POLYGON((6.99999 0,9 0,9 4,6.99999 4,6.99999 0))\n"
    );
    let overlap = "line 2 (\"A\") and line 3 (\"B\") overlap: ";
    let said = try_(&semicolon, &both);
    assert_eq!(said.status, Some(2), "{said:?}");
    assert!(said.stderr.contains(overlap) && said.stderr.contains("25 % of the smaller"), "{said:?}");
    let said = try_(&["--delimiter", ";", "--check"], &both);
    assert_eq!((said.status, said.stdout.as_str()), (Some(1), "3 areas; nothing was changed\n"), "{said:?}");
    assert!(said.stderr.contains(overlap) && said.stderr.contains("outlines cross a little in 1 places\n"), "{said:?}");
    assert!(said.stderr.contains("of the cells' places 1 are in one area, 1 in none, whose events count nowhere, and 1 in several, whose events count in each\n"), "{said:?}");
    assert_eq!(try_(&["--delimiter", ";", "--overlaps"], &both).stdout, "geography.admin2: 3 areas\n");

    // A ring of areas around ground that is nobody's.
    let around = format!(
        "{header}A;a;POLYGON((0 0,6 0,6 2,0 2,0 0))\nB;b;POLYGON((0 4,6 4,6 6,0 6,0 4))\nC;c;POLYGON((0 2,2 2,2 4,0 4,0 2))\nD;d;POLYGON((4 2,6 2,6 4,4 4,4 2))\n"
    );
    let said = try_(&["--delimiter", ";", "--check"], &around);
    assert_eq!(
        said.stdout,
        "4 areas; nothing was changed. geography.admin2 is there, with 3: --replace puts these in its place\n"
    );
    assert!(
        said.stderr.contains("1 hole between the areas (lakes, or ground that is nobody's), the largest of 49")
            && said.stderr.contains(" around longitude 3.00000, latitude 3.00000\n"),
        "{said:?}"
    );

    // Attributes.
    let said = try_(&[], "gemeinde,ort,geom\n1,Aarau,\"POLYGON((0 0,4 0,4 4,0 0))\"\n");
    assert_eq!(said.status, Some(2), "{said:?}");
    assert!(
        said.stderr.contains(
            "which attribute is admin2pcod? say --map admin2pcod=ATTRIBUTE; there is gemeinde (1); ort (Aarau)"
        ),
        "{said:?}"
    );
    let said = try_(
        &["--map", "admin2pcod=gemeinde", "--replace"],
        "gemeinde,ort,geom\n1,Aarau,\"POLYGON((0 0,4 0,4 4,0 0))\"\n",
    );
    assert_eq!(
        said.stderr.lines().take(3).collect::<Vec<_>>(),
        ["admin2pcod is gemeinde: \"1\"", "admin2name is gemeinde: \"1\"", "left out: ort"]
    );
    let said = try_(&["--delimiter", ";", "--map", "admin3pcod=code"], &bow);
    assert!(
        said.stderr.contains(
            "--map: geography.admin2 has no column \"admin3pcod\"; it has admin0pcod, admin0name, admin1pcod"
        ),
        "{said:?}"
    );
    let said = try_(&[], "code,name\nA,a\n");
    assert!(said.stderr.contains("there are no geometries in it"), "{said:?}");
    let country =
        rig.file("two.csv", "code,geom\nA,\"POLYGON((0 0,4 0,4 4,0 0))\"\nB,\"POLYGON((10 0,14 0,14 4,10 0))\"\n");
    let said = rig.run(&["geography", "admin0"], &[&country]);
    assert!(said.stderr.contains("admin0 is the country, one area; there are 2"), "{said:?}");
    let parents = "ADM1_PCODE,ADM2_PCODE,ADM2_EN,ADM1_EN,geom\nP1,P101,Ward,Province,\"POLYGON((0 0,4 0,4 4,0 0))\"\n";
    assert_eq!(try_(&["--replace"], parents).status, Some(0));
    assert_eq!(
        rig.ask("SELECT admin1pcod, admin1name, admin2pcod, admin2name FROM geography.admin2"),
        ["P1 Province P101 Ward"]
    );
}

/// FlowMachine counts by a level that was loaded as plain SQL does; and gives out what it has stored when that is another one.
#[test]
fn flowmachine_counts_by_what_was_loaded() {
    let rig = Rig::started();
    rig.cluster.run(SUPERUSER, include_str!("../support/flowmachine.sql")).expect("a week of calls");
    // A line apart in places that no cell is at.
    let halves = "code,name,geom\nW,West,\"POLYGON((0 0,2.2 0,2.2 6,0 6,0 0))\"\nE,East,\"POLYGON((2.2 0,6 0,6 6,2.2 6,2.2 0))\"\n";
    assert_eq!(load(&rig, &[], &rig.file("halves.csv", halves)).stdout, "geography.admin2: 2 areas\n");
    let Rig { cluster, files } = rig;
    let mut machine = FlowMachine::on(cluster);
    machine.start(&[]);
    let mut locations = daily_location(1, "last");
    locations["aggregation_unit"] = json!("admin2");
    let query = json!({"query_kind": "spatial_aggregate", "locations": locations});
    let id = machine.complete(query.clone());
    let plain = "SELECT admin2pcod, count(*) FROM (SELECT DISTINCT ON (msisdn) location_id FROM
                     (SELECT msisdn, location_id, datetime FROM events.calls WHERE datetime >= '2016-01-01' AND datetime < '2016-01-02'
                      UNION ALL SELECT msisdn, location_id, datetime FROM events.sms WHERE datetime >= '2016-01-01' AND datetime < '2016-01-02') AS events
                     ORDER BY msisdn, datetime DESC) AS last
                 JOIN infrastructure.cells ON id = location_id JOIN geography.admin2 ON ST_Contains(geom, geom_point) GROUP BY 1 ORDER BY 1";
    let expected = machine.cluster.ask(SUPERUSER, plain);
    assert_eq!(expected.iter().map(|row| row[1].parse::<u32>().unwrap()).sum::<u32>(), 2000);
    assert_eq!(expected.len(), 2);
    let stored = format!("SELECT pcod, value FROM cache.x{id} ORDER BY pcod");
    assert_eq!(machine.cluster.ask(SUPERUSER, &stored), expected);

    let path = files.path().join("whole.csv");
    std::fs::write(&path, "code,name,geom\nA,All,\"POLYGON((0 0,6 0,6 6,0 6,0 0))\"\n").unwrap();
    machine.cluster.give(&path);
    let said =
        Said::of(super::flowkit(&machine.cluster, &["geography", "admin2", "--replace"], &[&path]).output().unwrap());
    assert_eq!((said.status, said.stdout.as_str()), (Some(0), "geography.admin2: 1 area, in place of 2\n"), "{said:?}");
    assert!(
        said.stderr.contains(
            " results by admin2 that FlowMachine has stored are of the old areas, and are given out as they are"
        ),
        "{said:?}"
    );
    assert_eq!(machine.complete(query), id);
    assert_eq!(machine.cluster.ask(SUPERUSER, &stored), expected, "it is what is said that it is");
}

/// Geometries are PostGIS's to read. Whatever has become of one on its way, it is named or taken, and nobody's session ends by it.
#[test]
fn no_geometry_ends_the_server() {
    let rig = Rig::started();
    let started = rig.value("SELECT pg_postmaster_start_time()");
    // Always the same numbers (xorshift).
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    const WORDS: [&str; 12] =
        ["(", ")", ",", "-", "1e308", "NaN", "EMPTY", "0", "MULTIPOLYGON", "CURVEPOLYGON", "SRID=4326;", "Z"];
    let ring = "((0 0,4 0,4 4,0 4,0 0),(1 1,2 1,2 2,1 2,1 1))";
    let mut table = String::from("code|geom\nfirst|POLYGON((0 0,1 0,1 1,0 0))\n");
    for n in 0..400 {
        let kinds = ["POLYGON", "MULTIPOLYGON(", "GEOMETRYCOLLECTION(POLYGON", "TRIANGLE", "POLYHEDRALSURFACE("];
        let mut text = format!("{}{ring}", kinds[random(kinds.len())]);
        for _ in 0..1 + random(4) {
            let at = random(text.len());
            text.insert_str(at, WORDS[random(WORDS.len())]);
        }
        table += &format!("c{n}|{text}\n");
    }
    table += &format!("deep|{}POINT(0 0){}\n", "GEOMETRYCOLLECTION(".repeat(20_000), ")".repeat(20_000));
    let package = given(&rig, forms::geopackage(rig.files.path(), "areas.gpkg", &squares(), NAMES, 4326));
    let db = rusqlite::Connection::open(&package).expect("an SQLite file");
    let good: Vec<u8> =
        db.query_row("SELECT geom FROM places WHERE fid = 1", [], |row| row.get(0)).expect("a geometry");
    for n in 0..400 {
        let mut bytes = good.clone();
        for _ in 0..1 + random(4) {
            let at = 8 + random(bytes.len() - 8);
            bytes[at] = [0, 1, 0x7f, 0xff, random(256) as u8][random(5)];
        }
        bytes.truncate(8 + random(bytes.len() * 2).min(bytes.len() - 8));
        let insert = format!("INSERT INTO places (geom, \"{}\", \"{}\") VALUES (?1, 'c{n}', '')", NAMES[0], NAMES[1]);
        db.execute(&insert, [bytes]).expect("a place");
    }
    drop(db);
    let table = rig.file("areas.csv", table);
    for options in [&["--check"][..], &["--check", "--mend", "--overlaps"]] {
        let said = load(&rig, &[&["--delimiter", "|"], options].concat(), &table);
        assert_eq!(said.status, Some(2), "{said:?}");
        assert!(said.stderr.contains(" of the areas can't be taken:\n"), "{said:?}");
        let said = load(&rig, options, &package);
        assert_eq!(said.status, Some(2), "{said:?}");
        assert!(said.stderr.contains(" of the areas can't be taken:\n"), "{said:?}");
    }
    assert_eq!(rig.value("SELECT pg_postmaster_start_time()"), started);
    assert!(!rig.cluster.log().contains("terminated by signal"), "{}", rig.cluster.log());
}
