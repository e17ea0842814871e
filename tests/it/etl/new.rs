//! DAGs for FlowETL, as `flowkit etl new` writes them.

use super::{Rig, SUPERUSER, Said, gzip};
use crate::support::flowdb::FLOWMACHINE;

/// A DAG out of a sample is a program of Python's; what it says of the file is what `check` is told here.
#[test]
fn a_dag_is_written_out_of_a_sample() {
    let rig = Rig::started();
    let text = "A number;Start Time;Cell ID;Note\na;01/01/2016 01:00:00;c1;x, y\nb;13/01/2016 13:00:00;;\n";
    let sample = rig.file("calls_20160101.csv.gz", gzip(text));
    let path = rig.files.path().join("load_calls.py");
    let words = ["new", "calls", "--timezone", "Africa/Maputo", "--csv", sample.to_str().unwrap(), "--out"];
    let said = Said::of(rig.bare(&words, &[&path]).output().expect("flowkit starts"));
    assert_eq!(said.status, Some(0), "{said:?}");
    let dag = std::fs::read_to_string(&path).expect("a DAG");
    for line in [
        "    filename=\"/etl/calls_{{ ds_nodash }}.csv.gz\",",
        "    program=\"zcat\",",
        "    delimiter=\";\",",
        "    start_date=datetime(2016, 1, 1),",
        "            f_a_number AS msisdn,",
        "            NULL::numeric(8) AS tac,",
        "            (CASE WHEN btrim(f_start_time) ~ '^[0-9]{1,2}/[0-9]{1,2}/[0-9]{4} [0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}$' \
         THEN to_timestamp(f_start_time, 'DD/MM/YYYY HH24:MI:SS')::timestamp ELSE ('not DD/MM/YYYY HH24:MI:SS: ' || f_start_time)::timestamp END \
         AT TIME ZONE 'Africa/Maputo') AS datetime,",
        "#   f_note: \"Note\"; \"x, y\"; left out",
    ] {
        assert!(dag.lines().any(|found| found == line), "{line}\n{dag}");
    }
    let compiled =
        std::process::Command::new("python3").args(["-m", "py_compile"]).arg(&path).output().expect("python3");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    // What is there is not written over.
    assert_eq!(rig.bare(&words, &[&path]).output().expect("flowkit starts").status.code(), Some(2));
    // Its SQL is what FlowDB takes.
    let sql = dag.split("extract_sql=\"\"\"").nth(1).and_then(|rest| rest.split("\"\"\"").next()).expect("SQL");
    let sql = sql
        .replace("{{ staging_table }}", "sample")
        .replace("{{ ds }}", "2016-01-01")
        .replace("{{ tomorrow_ds }}", "2016-01-02");
    let fields: Vec<&str> = dag.lines().filter_map(|line| Some(line.trim().split_once(": \"TEXT")?.0)).collect();
    assert!(said.stderr.contains("2 of the 2 rows that were looked at are of another day than 2016-01-01"), "{said:?}");
    let make = format!(
        "CREATE TABLE sample ({}); INSERT INTO sample VALUES ('a', '01/01/2016 03:00:00', 'c1', 'x'), ('b', '01/01/2016 01:00:00', NULL, NULL)",
        fields.iter().map(|field| format!("{field} text")).collect::<Vec<_>>().join(", ")
    );
    rig.cluster.run(SUPERUSER, &make).expect("a table");
    assert_eq!(
        rig.ask(&format!("SELECT msisdn, datetime, location_id, tac FROM ({sql}) AS rows")),
        ["a 2016-01-01 01:00:00+00 c1 -"]
    );
    // What the loader refuses ends a run: times that are only near to the pattern, and a file of another day.
    for (values, error) in [
        ("('a', '01/01/2016 03:00:00 PM', 'c1', NULL)", "not DD/MM/YYYY HH24:MI:SS: 01/01/2016 03:00:00 PM"),
        ("('a', '01/01/2016 03:00:00+05:00', 'c1', NULL)", "not DD/MM/YYYY"),
        ("('a', '01/01/2016 03:00', 'c1', NULL)", "not DD/MM/YYYY"),
        ("('a', '01/01/16 03:00:00', 'c1', NULL)", "not DD/MM/YYYY"),
        ("('a', '31/02/2016 03:00:00', 'c1', NULL)", "out of range"),
        ("('a', '05/01/2016 03:00:00', 'c1', NULL)", "rows of 2016-01-01 (in UTC) in the file: 0"),
    ] {
        rig.cluster.run(SUPERUSER, &format!("TRUNCATE sample; INSERT INTO sample VALUES {values}")).expect("a row");
        let failed = rig.cluster.run(SUPERUSER, &format!("SELECT count(datetime) FROM ({sql}) AS rows")).unwrap_err();
        assert!(format!("{failed:?}").contains(error), "{values}: {failed:?}");
    }
}

/// Fields come as what they are, read by FlowDB's server as `COPY` would read them.
#[test]
fn a_dag_has_the_server_read_the_fields() {
    let rig = Rig::started();
    // What it sorts may be as large as a day's table; what people ask may not.
    let limit = |who| rig.cluster.value(who, "SHOW temp_file_limit");
    assert_eq!((limit(SUPERUSER) == "-1", limit(FLOWMACHINE) == "-1"), (true, false));
    // In the order of subscribers, and of that day in UTC.
    for (zone, time, rows) in [
        (
            "UTC",
            "TIMESTAMPTZ",
            [
                "a 2016-01-01 03:30:00+00 - f - -",
                "b 2016-01-01 05:00:00+00 1.5 t 12345678 -",
                "c 2016-01-01 01:00:00+00 7 - - -",
                "e 2016-01-01 22:30:00+00 - - - -",
            ]
            .as_slice(),
        ),
        // Two hours ahead, by its name and by number.
        ("Africa/Maputo", "TEXT", &HERE),
        ("+02:00", "TEXT", &HERE),
    ] {
        dag_reads(&rig, zone, time, rows);
    }
}

const HERE: [&str; 3] = [
    "a 2016-01-01 01:30:00+00 - f - -",
    "b 2016-01-01 03:00:00+00 1.5 t 12345678 -",
    "e 2016-01-01 22:30:00+00 - - - -",
];

fn dag_reads(rig: &Rig, zone: &str, time: &str, rows: &[&str]) {
    let text = "datetime,msisdn,duration,outgoing,tac,note\n2016-01-01 05:00:00,b,1.5,t,12345678,x\n2016-01-01 03:30:00,a,\"\",f,\"\",\n\
                2016-01-01 01:00:00,c,7,,,\n2016-01-02 02:00:00,d,7,,,\n2016-01-01T18:30:00-04,e,,,,\n";
    let sample = rig.file("calls_20160101.csv", text);
    let words = ["new", "calls", "--timezone", zone, "--csv"];
    let said = Said::of(rig.bare(&words, &[&sample]).output().expect("flowkit starts"));
    assert_eq!(said.status, Some(0), "{said:?}");
    let part = |after: &str, until: &str| {
        let rest = said.stdout.split(after).nth(1).unwrap_or_else(|| panic!("{after}\n{}", said.stdout));
        rest.split(until).next().expect("a part").to_owned()
    };
    let fields = part("fields={", "},").replace("\": \"", " ").replace(['"', '\n'], "");
    let fields: Vec<&str> = fields.split(',').map(str::trim).filter(|field| !field.is_empty()).collect();
    assert_eq!(
        fields,
        [
            &format!("f_datetime {time} OPTIONS (force_null 'true')"),
            "f_msisdn TEXT OPTIONS (force_null 'true')",
            "f_duration NUMERIC OPTIONS (force_null 'true')",
            "f_outgoing BOOLEAN OPTIONS (force_null 'true')",
            "f_tac NUMERIC(8) OPTIONS (force_null 'true')",
            "f_note TEXT"
        ]
    );
    assert_eq!(part("indexes=[", "]"), "\"msisdn\", \"location_id\", \"datetime\"");
    let make = format!(
        "DROP FOREIGN TABLE IF EXISTS sample; CREATE FOREIGN TABLE sample ({}) SERVER csv_fdw OPTIONS (filename '{}', format 'csv', header 'true', null '')",
        fields.join(", "),
        sample.display()
    );
    rig.cluster.run(SUPERUSER, &make).expect("a foreign table");
    let sql = part("extract_sql=\"\"\"", "\"\"\"").replace("{{ staging_table }}", "sample");
    let sql = sql.replace("{{ ds }}", "2016-01-01").replace("{{ tomorrow_ds }}", "2016-01-02");
    let read = rig.ask(&format!("SELECT msisdn, datetime, duration, outgoing, tac, imei FROM ({sql}) AS rows"));
    assert_eq!(read, rows, "{zone}");
}

/// FlowDB's server decodes nothing: a file says what its bytes have to go through first, and that makes of them what the loader reads.
#[test]
fn a_dag_says_what_other_text_needs() {
    let dir = tempfile::tempdir().expect("a directory");
    let header = "datetime,msisdn\n2016-01-01 00:00:00,grün\n";
    let bare = "grün,2016-01-01 00:00:00\nb,2016-01-01 00:00:00\n";
    let utf16 = |text: &str| format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let (latin, _, _) = etl::Encoding::for_label(b"windows-1252").expect("it is known").encode(header);
    for (bytes, text, program) in [
        (utf16(header), header, Some("iconv -f UTF-16 -t UTF-8")),
        (latin.into_owned(), header, Some("iconv -f windows-1252 -t UTF-8")),
        (format!("\u{feff}{bare}").into_bytes(), bare, Some("tail -c +4")),
        (format!("\u{feff}{header}").into_bytes(), header, None),
        (bare.into(), bare, None),
    ] {
        let path = dir.path().join("calls_20160101.csv");
        std::fs::write(&path, bytes).expect("a file");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_flowkit"));
        let said =
            Said::of(command.args(["etl", "new", "calls", "--csv"]).arg(&path).output().expect("flowkit starts"));
        let named = said.stdout.lines().find_map(|line| line.split_once("have program=\"")?.1.split('"').next());
        assert_eq!(named, program, "{said:?}");
        let Some(program) = program else { continue };
        let read = std::process::Command::new("sh").args(["-c", &format!("{program} {}", path.display())]).output();
        assert_eq!(String::from_utf8_lossy(&read.expect("sh").stdout), text);
    }
}

/// What a DAG would lose, or end at, is said to whoever types, and stands in the DAG too.
#[test]
fn what_a_dag_would_stumble_over_is_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let rows = "msisdn,datetime,duration\na,2016-01-01 01:00:00,1\n";
    let uneven = "2 of the rows that were looked at have not the 3 fields of the first line";
    for (text, warnings) in [
        (rows.to_owned(), &[][..]),
        (
            rows.to_owned() + "b,2016-01-01 01:00:00,NULL\n",
            &["column \"duration\" is left out, since its value \"NULL\" is no number: if it is FlowDB's duration, "],
        ),
        (
            rows.replace("duration", "\"Call Duration\"").replace(",1\n", ",\"3,5\"\n"),
            &[
                "column \"Call Duration\" is left out, since its value \"3,5\" is no number: if it is FlowDB's duration, ",
            ],
        ),
        // Nothing that FlowDB has is missed.
        (rows.replace("msisdn,", "msisdn,seconds,").replace("a,", "a,NULL,"), &[]),
        (
            "msisdn,datetime,endtime\na,later,2016-01-01 01:00:00\n".to_owned(),
            &["column \"datetime\" is left out, since its value \"later\" is no date and time: "],
        ),
        (
            rows.to_owned() + "\\.\nb,2016-01-01 01:00:00,1\n",
            &["a line of it is `\\.`, which FlowDB's server takes for"],
        ),
        (rows.to_owned() + "\\.\r\n", &["a line of it is `\\.`, which FlowDB's server takes for"]),
        (rows.to_owned() + "b,2016-01-01 01:00:00,1,\nb,2016-01-01 01:00:00\n", &[uneven]),
        (rows.replace('\n', ",\n"), &["its header ends with a delimiter: the column after that has no name"]),
    ] {
        let path = dir.path().join("calls_20160101.csv");
        // UTF-16 is what it is, and is read all the same.
        for is_utf16 in [false, true] {
            let wide = || format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
            std::fs::write(&path, if is_utf16 { wide() } else { text.clone().into_bytes() }).expect("a file");
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_flowkit"));
            let said =
                Said::of(command.args(["etl", "new", "calls", "--csv"]).arg(&path).output().expect("flowkit starts"));
            let other = is_utf16.then_some("its text is not UTF-8 (UTF-16), ");
            let warnings: Vec<&str> = warnings.iter().copied().chain(other).collect();
            assert_eq!(said.stderr.lines().count(), warnings.len(), "{text}: {said:?}");
            for warning in warnings {
                assert!(said.stderr.contains(&format!("warning: {warning}")), "{text}: {said:?}");
                assert!(said.stdout.contains(&format!("\n# {warning}")), "{text}: {said:?}");
            }
        }
    }
}

/// One moment in the ways that the loader knows, of a field that says where it is, and of one that doesn't.
#[test]
fn a_dag_knows_zones_as_the_loader_does() {
    let rig = Rig::started();
    let text = "msisdn,datetime\na,2016-01-01 03:00:00\n";
    let sample = rig.file("calls_2016_01_01.csv", text);
    let words = ["new", "calls", "--timezone", "Africa/Maputo", "--csv"];
    let said = Said::of(rig.bare(&words, &[&sample]).output().expect("flowkit starts"));
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""));
    assert!(said.stdout.contains("filename=\"/etl/calls_{{ ds.replace('-', '_') }}.csv\""), "{}", said.stdout);
    let at = said.stdout.lines().find_map(|line| line.trim().strip_suffix(" AS datetime,")).expect("its SQL");
    for (text, utc) in [
        ("20160131T010000Z", "01:00"),
        ("20160131T020000+05", "21:00"),
        ("2016-01-31 01:00:00 UTC", "01:00"),
        ("2016-01-31 01:00:00 gmt", "01:00"),
        ("2016-01-31 02:00:00Z ", "02:00"),
        ("2016-01-31 02:00:00.5-04:00", "06:00"),
        ("2016-01-31 02:00", "00:00"),
        ("20160131T020000", "00:00"),
        (" 2016/01/31 02:00:00 ", "00:00"),
    ] {
        let asked = format!("SELECT to_char({at}, 'HH24:MI') FROM (SELECT '{text}'::text AS f_datetime) AS row");
        assert_eq!(rig.cluster.value(SUPERUSER, &asked), utc, "{text:?}");
    }

    // The loader reads a fraction after a comma, PostgreSQL one after a point.
    let sample = rig.file("calls_2016_01_02.csv", "msisdn;datetime\na;2016-01-02 03:00:00,123\n");
    let said = Said::of(rig.bare(&["new", "calls", "--csv"], &[&sample]).output().expect("flowkit starts"));
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""));
    assert!(said.stdout.contains("\"f_datetime\": \"TEXT OPTIONS"), "{}", said.stdout);
    let at = said.stdout.lines().find_map(|line| line.trim().strip_suffix(" AS datetime,")).expect("its SQL");
    for (text, utc) in [
        ("2016-01-02 03:00:00,123", "03:00:00.123000"),
        ("2016-01-02T03:00:00,5+02", "01:00:00.500000"),
        ("2016-01-02 03:00:00.25Z", "03:00:00.250000"),
    ] {
        let asked = format!("SELECT to_char({at}, 'HH24:MI:SS.US') FROM (SELECT '{text}'::text AS f_datetime) AS row");
        assert_eq!(rig.cluster.value(SUPERUSER, &asked), utc, "{text:?}");
    }
}
