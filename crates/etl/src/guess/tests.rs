use super::*;

fn of(text: &[u8]) -> Guess {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    guess(Kind::Calls, &Input::File(file.path().into())).unwrap()
}

fn seen(guess: &Guess) -> Vec<(&str, Option<&str>)> {
    guess.columns.iter().map(|column| (column.name.as_str(), column.column)).collect()
}

#[test]
fn a_sample_says_how_it_is_written() {
    let guess = of(b"A number;B-Number;Start Time;Cell ID;Duration;Note\na;b;31/12/2015 23:00:00;c1;12.5;x, y\na;;13/01/2016 00:00:00;c2;;\n");
    assert_eq!((guess.delimiter, guess.header), (b';', true));
    assert_eq!(guess.writing, Some(Writing::Pattern("%d/%m/%Y %H:%M:%S".into())));
    let expected = [
        ("A number", Some("msisdn")),
        ("B-Number", Some("msisdn_counterpart")),
        ("Start Time", Some("datetime")),
        ("Cell ID", Some("location_id")),
        ("Duration", Some("duration")),
        ("Note", None),
    ];
    assert_eq!(seen(&guess), expected);
    assert_eq!(guess.columns[3].examples, ["c1", "c2"]);
}

/// Where the rows leave day and month open, the file's name says which is which; where it doesn't, neither is certain.
#[test]
fn day_and_month_are_told_apart_by_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let of = |name: &str, times: [&str; 2]| {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("msisdn,time\na,{}\nb,{}\n", times[0], times[1])).unwrap();
        let guess = guess(Kind::Calls, &Input::File(path)).unwrap();
        let named = |writing: Writing| match writing {
            Writing::Pattern(pattern) => pattern[..5].to_owned(),
            other => format!("{other:?}"),
        };
        (named(guess.writing.unwrap()), guess.doubt.map(named))
    };
    let (day, month) = ("%d/%m".to_owned(), "%m/%d".to_owned());
    let times = ["03/04/2016 00:00:00", "03/04/2016 23:00:00"];
    assert_eq!(of("s_20160304.csv", times), (month.clone(), None));
    assert_eq!(of("s_20160403.csv", times), (day.clone(), None));
    assert_eq!(of("s.csv", times), (day.clone(), Some(month.clone())));
    assert_eq!(of("s_20170101.csv", times), (day.clone(), Some(month)));
    // The same in either way, and a name that is wrong about what is certain.
    assert_eq!(of("s_20160303.csv", ["03/03/2016 00:00:00"; 2]), (day.clone(), None));
    assert_eq!(of("s_20160304.csv", ["13/04/2016 00:00:00", "03/04/2016 00:00:00"]), (day, None));
}

#[test]
fn files_without_names_and_other_letters_are_seen_too() {
    let guess = of(b"50912345678,2016-01-01T00:00:00+02,caf\xe9\n50912345679,2016-01-01T00:00:01+02,x\n");
    assert_eq!((guess.header, guess.encoding.is_some()), (false, true));
    assert_eq!(seen(&guess), [("column_1", None), ("column_2", Some("datetime")), ("column_3", None)]);
    let guess = of(b"msisdn\tdatetime\nsomebody\t1451606400\n");
    assert_eq!((guess.delimiter, guess.writing), (b'\t', Some(Writing::Seconds)));
    // Known by its name, and by nothing in it.
    let guess = of(b"msisdn,duration,time\na,long,later\n");
    assert_eq!(seen(&guess), [("msisdn", Some("msisdn")), ("duration", None), ("time", None)]);
}

#[test]
fn flowdbs_own_names_go_before_what_others_call_them() {
    let guess = of(
        b"insert_time,cell,subscriber,datetime,location_id,msisdn\n2016-02-01 00:00:00,x,y,31/01/2016 10:00:00,c,a\n",
    );
    let expected = [
        ("insert_time", None),
        ("cell", None),
        ("subscriber", None),
        ("datetime", Some("datetime")),
        ("location_id", Some("location_id")),
        ("msisdn", Some("msisdn")),
    ];
    assert_eq!(seen(&guess), expected);
    // What others call so goes before what only looks like times, however these are written.
    let guess = of(b"caller,endtime,starttime\na,2016-01-31 10:00:00,31/01/2016 09:00:00\n");
    assert_eq!(seen(&guess), [("caller", Some("msisdn")), ("endtime", None), ("starttime", Some("datetime"))]);
    let day = time::macros::date!(2016 - 01 - 31);
    let elsewhere = |hours: i32| guess.of_other_days(day, Zone::Fixed(hours * 3600));
    assert_eq!((elsewhere(0), elsewhere(9), elsewhere(10)), (0, 0, 1));
}

#[test]
fn a_quote_is_left_open_by_the_sample_alone() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let input = Input::File(file.path().into());
    let rows = "a,2016-01-01 00:00:00,x\n".repeat(10);
    std::fs::write(file.path(), format!("{rows}b,2016-01-01 00:00:00,\"open\n")).unwrap();
    assert!(matches!(guess(Kind::Calls, &input), Err(NoGuess::Rows(_, Broken::Open(11)))));
    let long = format!("b,2016-01-01 00:00:00,\"{}\"\n", "x\n".repeat(SAMPLE as usize / 2));
    std::fs::write(file.path(), rows + &long).unwrap();
    assert_eq!(guess(Kind::Calls, &input).unwrap().columns.len(), 3);
}

#[test]
fn what_is_no_table_is_said() {
    for text in [&b""[..], b"\n\n", b"one column\nonly\n"] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        assert!(matches!(guess(Kind::Sms, &Input::File(file.path().into())), Err(NoGuess::Empty(_))), "{text:?}");
    }
}
