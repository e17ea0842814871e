//! Files as they come: what is wrong in them is refused row by row, or keeps the day away, and is said.

use std::os::unix::fs::PermissionsExt;

use super::{HEADER, Rig, SUPERUSER, Said, calls, gzip};

/// A day's table and what is beside it stay as they were.
fn nothing_happened(rig: &Rig, day: &str) {
    let table = day.replace('-', "");
    assert_eq!(rig.value(&format!("SELECT to_regclass('events.calls_{table}') IS NULL")), "t", "{day}");
    assert_eq!(rig.value(&format!("SELECT count(*) FROM etl.available_dates WHERE cdr_date = '{day}'")), "0");
    let states = rig.ask(&format!("SELECT DISTINCT state FROM etl.etl_records WHERE cdr_date = '{day}'"));
    assert_eq!(states, ["quarantine"], "{day}");
    assert_eq!(rig.value("SELECT count(*) FROM pg_class WHERE relname LIKE 'load\\_%'"), "0", "{day}");
}

/// One loader, one FlowDB, many files: each with what must be said of it.
#[test]
fn a_day_that_is_unfit_is_put_in_quarantine() {
    let rig = Rig::started();
    let good = calls(1, 50);
    let archive = gzip(&calls(4, 5000));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "2016-01-01",
            good.replace("msisdn_counterpart", "counterpart").into(),
            "column \"counterpart\" is none of events.calls: say which it is with --map COLUMN=counterpart, or leave it out with --ignore counterpart",
        ),
        (
            "2016-01-02",
            "a;b\n1;2\n".into(),
            "the header is a single column, \"a;b\": say with --delimiter what is between its fields",
        ),
        ("2016-01-03", "id,datetime\n1,2016-01-03 00:00:00\n".into(), "there is no column msisdn among id, datetime"),
        ("2016-01-04", archive[..archive.len() / 2].into(), "cannot be read to its end"),
        ("2016-01-05", "".into(), "there are no rows"),
        ("2016-01-06", format!("{HEADER}\n").into(), "there are no rows"),
        // Local days of somewhere else: too many rows are of another one.
        ("2016-01-07", calls(8, 50).into(), "50 of 50 lines were refused, more than 0.1 %: "),
        (
            "2016-01-09",
            [HEADER.as_bytes(), b"\n1,t,2016-01-09 00:00:00,1,\xff,a,,,,,,,\n"].concat(),
            "network is not UTF-8",
        ),
        ("2016-01-10", "datetime,msisdn,msisdn\n".into(), "there are two columns msisdn"),
        (
            "2016-01-11",
            [b"datetime,msisdn\n2016-01-11 00:00:00,\"a\n".to_vec(), b"x\n".repeat(600_000)].concat(),
            "line 2: a record of more than 1 MiB or 4,096 fields begins there: was a quote left open?",
        ),
    ];
    let files: Vec<_> = cases.iter().map(|(day, bytes, _)| rig.file(&format!("calls_{day}.csv"), bytes)).collect();
    let said = rig.run(&["load", "calls"], &files.iter().map(|file| file.as_path()).collect::<Vec<_>>());
    assert_eq!((said.status, said.stdout.as_str()), (Some(1), "10 in quarantine\n"), "{said:?}");
    for (day, _, what) in &cases {
        let line = said.stderr.lines().find(|line| line.starts_with(day)).unwrap_or_else(|| panic!("{day}: {said:?}"));
        assert!(line.starts_with(&format!("{day}: in quarantine: ")) && line.contains(what), "{line}");
        nothing_happened(&rig, day);
    }

    // A day that is there stays there when something unfit is delivered in its place.
    let sound = rig.file("calls_2016-01-20.csv", calls(20, 50));
    rig.load(&["calls"], &[&sound]);
    let unfit = rig.file("calls_2016-01-20.csv", format!("{HEADER}\n"));
    assert_eq!(rig.run(&["load", "calls", "--replace"], &[&unfit]).status, Some(1));
    assert_eq!(rig.value("SELECT count(*) FROM etl.available_dates WHERE cdr_date = '2016-01-20'"), "1");
    assert_eq!(rig.value("SELECT count(*) FROM events.calls_20160120"), "50");

    // What FlowDB refuses in the middle leaves nothing that takes room.
    let stands = "CREATE TABLE etl.load_calls_20160121_location_id_idx ()";
    rig.cluster.run(SUPERUSER, stands).expect("something in the way of an index");
    let failing = rig.file("calls_2016-01-21.csv", calls(21, 50));
    let said = rig.run(&["load", "calls"], &[&failing]);
    assert!(said.status != Some(0) && said.stderr.contains("make the indexes of calls of 2016-01-21"), "{said:?}");
    assert_eq!(rig.value("SELECT count(*) FROM pg_class WHERE relname = 'load_calls_20160121'"), "0");
    rig.cluster.run(SUPERUSER, "DROP TABLE etl.load_calls_20160121_location_id_idx").expect("it goes");
    rig.load(&["calls"], &[&failing]);

    // `check` says the same without a FlowDB.
    let said = rig.run(&["check", "calls"], &[&files[0], &sound]);
    assert_eq!(said.status, Some(1), "{said:?}");

    // Root's too writes as the owner of the directory, whatever that user has put into it.
    if rustix::process::geteuid().is_root() {
        let roots = tempfile::tempdir().expect("a temporary directory");
        let rejects = rig.cluster.site.state.root().join("etl/rejects");
        std::fs::remove_dir_all(&rejects).expect("the rejects");
        std::os::unix::fs::symlink(roots.path(), &rejects).expect("a link");
        let mut command = std::process::Command::new(crate::support::programs::flowkit());
        command.args(["etl", "check", "calls"]).arg(&files[6]).arg("--dir").arg(rig.cluster.site.state.root());
        let said = Said::of(command.env_clear().output().expect("flowkit starts"));
        assert_eq!(said.status, Some(1), "{said:?}");
        assert!(said.stdout.contains("Permission denied") || said.stderr.contains("Permission denied"), "{said:?}");
        assert_eq!(roots.path().read_dir().expect("root's").count(), 0);
    }
}

#[test]
fn a_row_that_is_wrong_is_refused_with_its_line_and_the_reason() {
    let rig = Rig::started();
    let day = "2016-01-01";
    let text = format!(
        "\u{feff}{HEADER}\r\n\
         1,t,{day} 00:00:00,1.5,net,a,b,cell,,,,,\r\n\
         2,t,yesterday,1,net,a,b,,,,,,\r\n\
         3,t,{day} 25:00:00,1,net,a,b,,,,,,\r\n\
         4,maybe,{day} 00:00:00,1,net,a,b,,,,,,\r\n\
         5,t,{day} 00:00:00,one,net,a,b,,,,,,\r\n\
         6,t,{day} 00:00:00,1,net,,b,,,,,,\r\n\
         7,t,,1,net,a,b,,,,,,\r\n\
         8,t,{day} 00:00:00,1,net,a,b,,,,123456789,,\r\n\
         9,t,{day} 00:00:00\r\n\
         10,t,2016-01-02 00:00:00,1,net,a,b,,,,,,\r\n\
         11,t,2016-01-02 01:59:59+02,1,net,a,b,,,,,,\r\n\
         12,t,{day} 00:30:00+02:00,1,net,a,b,,,,,,\r\n\
         13,f,{day} 23:59:59.999999,,\"a, \"\"quoted\"\"\tname\",a,\"b\",,,,,,\r\n\
         14,t,{day} 00:00:00,1,{},a,b,,,,,,\r\n\
         15,f,{day} 12:00:00,1,net,a,b,,,,,,\r\n\
         15,f,{day} 12:00:00,1,net,a,b,,,,,,\r\n\
         16,t,{day} 00:00:00,1,net,a,b,,,,,,,\r\n\
         17,t,{day} 00:00:00,1,net,a,b,\"c1,,,,,\r\n\
         18,t,{day} 00:00:00,1,net,a,b,c1\",,,,,\r\n\
         19,t,{day} 00:00:00,1,\"net,a,b,,,,,,\r\n\
         20,t,{day} 00:00:00,1,net\",a,b,,,,,,\r\n",
        "x".repeat(1001),
    );
    let file = rig.file("calls_20160101.csv", text);
    let said = rig.run(&["load", "calls", "--max-rejects", "16"], &[&file]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let rejects = rig.cluster.site.state.root().join("etl/rejects/calls_20160101.rejects.csv");
    assert!(said.stderr.contains(&format!("5 rows; 16 lines refused, see {}", rejects.display())), "{said:?}");
    assert_eq!(std::fs::metadata(&rejects).expect("the rejects").permissions().mode() & 0o777, 0o600);
    let written = std::fs::read_to_string(&rejects).expect("the rejects");
    let reasons: Vec<String> = written
        .lines()
        // A row that takes several lines is written down as it is.
        .filter(|line| line.starts_with('/'))
        .map(|line| {
            let mut parts = line.split(',').skip(1);
            format!("{} {}", parts.next().unwrap(), parts.next().unwrap())
        })
        .collect();
    assert_eq!(
        reasons,
        [
            "3 datetime is no date and time",
            "4 datetime is no date and time",
            "5 outgoing is neither true nor false",
            "6 duration is no number",
            "7 msisdn has no value",
            "8 datetime has no value",
            "9 tac has more than eight digits",
            "10 3 fields in place of 13",
            "11 datetime is on 2016-01-02 in UTC",
            "13 datetime is on 2015-12-31 in UTC",
            "15 network is 1001 bytes long (at most 1000)",
            "18 14 fields in place of 13",
            "19 location_id has a line break or another control character (a stray quote?)",
            "21 network has a line break or another control character (a stray quote?)",
        ]
    );
    assert!(written.contains(",\"2,t,yesterday,1,net,a,b,,,,,,\"\n"), "{written}");
    assert_eq!(
        rig.ask("SELECT id, datetime, duration FROM events.calls ORDER BY id::int, ctid"),
        [
            "1 2016-01-01 00:00:00+00 1.5",
            "11 2016-01-01 23:59:59+00 1",
            "13 2016-01-01 23:59:59.999999+00 -",
            "15 2016-01-01 12:00:00+00 1",
            "15 2016-01-01 12:00:00+00 1",
        ]
    );
    assert_eq!(rig.value("SELECT network FROM events.calls WHERE id = '13'"), "a, \"quoted\"\tname");
    let duplicates = "SELECT outcome FROM etl.post_etl_queries WHERE type_of_query_or_check = 'count_duplicates'";
    assert_eq!(rig.value(duplicates), "1");
}

/// Another operator's ways: every option, once.
#[test]
fn files_are_read_as_the_options_say() {
    let rig = Rig::started();
    let text = "caller;when;what;note\n'grün';31/12/2015 22:00:00;?;x\n'a''b';31/12/2015 23:30:00;250,5;y\n";
    let text = text.replace("250,5", "250.5");
    let (latin, _, _) = etl::Encoding::for_label(b"windows-1252").expect("it is known").encode(&text);
    let file = rig.file("data", latin);
    let words = [
        "topups",
        "--date",
        "2016-01-01",
        "--delimiter",
        ";",
        "--quote",
        "'",
        "--null",
        "?",
        "--encoding",
        "windows-1252",
        "--timezone",
        "America/Port-au-Prince",
        "--time-format",
        "%d/%m/%Y %H:%M:%S",
        "--map",
        "msisdn=caller",
        "--map",
        "datetime=when",
        "--map",
        "recharge_amount=what",
        "--ignore",
        "note",
    ];
    rig.load(&words, &[&file]);
    let rows = "SELECT msisdn, datetime, recharge_amount FROM events.topups ORDER BY datetime";
    assert_eq!(rig.ask(rows), ["grün 2016-01-01 03:00:00+00 -", "a'b 2016-01-01 04:30:00+00 250.5"]);

    let bare = rig.file("bare_20160102", "1451692800\tsomebody\n1451692801\tsomebody\n");
    let part = rig.file("more_20160102", "1451692802\tsomebody\n");
    let words = ["topups", "--columns", "datetime,msisdn", "--delimiter", "tab", "--time-format", "epoch", "--parts"];
    rig.load(&words, &[&bare, &part]);
    assert_eq!(rig.value("SELECT count(*) FROM events.topups_20160102"), "3");

    // Nothing is begun when something can't be meant.
    for (words, said) in [
        (&["calls"][..], "are both of 2016-01-02: name one of them, or give --parts if the day is in both"),
        (&["topups", "--parts", "--map", "caller=msisdn"], "--map: events.topups has no column \"caller\""),
        (&["topups", "--parts", "--delimiter", "\""], "--delimiter and --quote are the same character"),
        (
            &["topups", "--parts", "--map", "datetime=2016-01-02 00:00:00"],
            "--map datetime=2016-01-02 00:00:00: \"2016-01-02 00:00:00\" is a time or a number, as rows have them: for files without a header give --columns",
        ),
        (&["topups", "--parts", "--map", "msisdn=50912345678"], "--map msisdn=50912345678: \"50912345678\" is a time"),
    ] {
        let refused = rig.run(&[&["load"], words].concat(), &[&bare, &part]);
        assert_eq!(refused.status, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(said), "{refused:?}");
    }
    let gone = rig.files.path().join("calls_20160105.csv");
    assert_eq!(rig.run(&["load", "calls"], &[&gone]).status, Some(2));
    assert_eq!(rig.cluster.ask(SUPERUSER, "SELECT FROM etl.etl_records WHERE cdr_type = 'calls'").len(), 0);
}
