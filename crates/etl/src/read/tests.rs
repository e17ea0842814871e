use std::collections::HashMap;

use time::macros::date;

use super::*;
use crate::moment::{Moments, Writing, Zone};
use crate::records::Shape;
use crate::value::Wrong;

/// Reads a file with this much room for ids of cells, whatever is refused.
fn of(text: &[u8], room: usize) -> Result<Read, Unfit> {
    without(&[], text, room)
}

/// The same, where these columns are left out.
fn without(ignored: &[&str], text: &[u8], room: usize) -> Result<Read, Unfit> {
    beside(0, ignored, text, room)
}

/// The same, where so many bytes of the disk are kept.
fn beside(keep: u64, ignored: &[&str], text: &[u8], room: usize) -> Result<Read, Unfit> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("calls_20160101.csv");
    std::fs::write(&path, text).unwrap();
    let format = Format {
        shape: Shape { delimiter: b',', quote: b'"' },
        null: String::new(),
        encoding: None,
        moments: Moments { writing: Writing::Iso, zone: Zone::Fixed(0) },
        columns: None,
        names: HashMap::new(),
        ignored: ignored.iter().map(|name| name.to_string()).collect(),
    };
    let wanted = Wanted {
        kind: Kind::Calls,
        format: &format,
        limit: Limit::Percent(100.0),
        memory: 1 << 20,
        spool: dir.path().into(),
        keep,
        rejects: dir.path().join("rejects"),
        read: Arc::new(|_| ()),
    };
    read_within(&Day { date: date!(2016 - 01 - 01), inputs: vec![Input::File(path)], spans: vec![] }, &wanted, room)
}

fn say(unfit: &Unfit) -> String {
    std::error::Error::source(unfit).expect("it has a source").to_string()
}

fn unfit(text: &[u8], room: usize) -> String {
    of(text, room).err().expect("it is unfit").to_string()
}

#[test]
fn cells_have_their_share_of_memory() {
    let row = |n: u32| format!("2016-01-01 00:00:00,a,cell-{}\n", n % 50);
    let text = format!("datetime,msisdn,location_id\n{}", (0..1000).map(row).collect::<String>());
    let room = 50 * (BESIDE + "cell-10".len());
    assert_eq!(of(text.as_bytes(), room).unwrap().locations.len(), 50);
    let said = "49 different cells, such as \"cell-48\": is location_id the right column?";
    assert_eq!(unfit(text.as_bytes(), room - 2 * BESIDE), said);
}

/// A fault of the machine's: the day is not put in quarantine for it.
#[test]
fn a_day_that_would_fill_the_disk_is_not_put_aside() {
    let text = format!("datetime,msisdn\n{}", "2016-01-01 00:00:00,a\n".repeat(30_000));
    assert_eq!(beside(0, &[], text.as_bytes(), CELLS).unwrap().count, 30_000);
    let Err(unfit @ Unfit::Disk(_)) = beside(u64::MAX, &[], text.as_bytes(), CELLS) else { panic!("it has room") };
    assert!(say(&unfit).contains(" of free space, "), "{}", say(&unfit));
}

#[test]
fn a_day_of_which_nothing_is_left_is_not_called_empty() {
    let said = unfit(b"datetime,msisdn\n2016-01-02 00:00:00,a\nno,b\n", CELLS);
    assert!(
        said.starts_with("all 2 lines were refused: ") && said.contains("line 2: datetime is on 2016-01-02"),
        "{said}"
    );
    assert!(said.contains("; see "), "{said}");
    assert!(unfit(b"datetime,msisdn\n", CELLS).starts_with("there are no rows"));
}

/// Its first row is not told to be mapped away.
#[test]
fn a_file_without_a_header_is_told_of_columns() {
    let said = |text: &[u8]| say(&of(text, CELLS).err().expect("it is unfit"));
    let hint = "; if this line is a row, the file has no header: name its columns with --columns NAME,...";
    let row = said(b"a01,2016-01-01 02:00:00,c1\n");
    assert!(row.starts_with("column \"a01\" is none of events.calls: ") && row.ends_with(hint), "{row}");
    assert!(said(b"msisdn,31/01/2016 02:00:00\n").ends_with(hint));
    assert!(said(b"msisdn,50912345678\n").ends_with(hint));
    assert!(said(b"msisdn,datetime,note\n").ends_with("or leave it out with --ignore note"));
    assert!(said(b"msisdn,id\n").ends_with("--map datetime=COLUMN"));
}

/// What is between two stray quotes is one record, whose lines are all refused.
#[test]
fn a_stray_quote_swallows_no_rows_unseen() {
    let row = "2016-01-01 00:00:00,a,net,c1\n";
    let text = format!(
        "datetime,msisdn,network,location_id\n{row}2016-01-01 00:00:00,a,net,\"c1\n{row}{row}{row}2016-01-01 00:00:00,a,net,c1\"\n{row}"
    );
    let read = of(text.as_bytes(), CELLS).unwrap();
    assert_eq!((read.count, read.refused, read.locations), (2, 5, vec!["c1".to_owned()]));
}

/// In columns that may hold anything, and in files whose lines end as on old Macintoshes, too.
#[test]
fn a_stray_quote_is_seen_in_words_and_in_what_is_left_out() {
    for (end, line, lines) in [("\n", 2, 5), ("\r\n", 2, 5), ("\r", 1, 1)] {
        for column in ["network", "Note"] {
            let row = |note: &str| format!("{note},2016-01-01 00:00:00,a{end}");
            let rows = [row("x"), row("\"x"), row("x"), row("x"), row("x"), row("x\""), row("x")];
            // The second quote ends its field where the row's own field ends.
            let text = format!("{column},datetime,msisdn{end}{}", rows.concat());
            let ignored: &[&str] = if column == "Note" { &["note"] } else { &[] };
            let read = without(ignored, text.as_bytes(), CELLS).unwrap();
            assert_eq!((read.count, read.refused), (2, lines), "{text:?}");
            let alone = format!("{column},datetime,msisdn{end}{}", rows[1..6].concat());
            let Err(Unfit::AllRefused { first, .. }) = without(ignored, alone.as_bytes(), CELLS) else {
                panic!("{alone:?} is fit");
            };
            let what = if ignored.is_empty() { "network" } else { "column \"Note\", which is left out," };
            assert!(first.ends_with(&format!("line {line}: {what} {}", Wrong::Control)), "{first}");
        }
    }
    // Words and what is left out may have all else in quotes.
    let text = "network,note,datetime,msisdn\n\"a\tb, c\",\"say \"\"hi\"\", \t\",2016-01-01 00:00:00,a\n";
    assert_eq!(without(&["note"], text.as_bytes(), CELLS).unwrap().count, 1);
}

/// Half of a pair of UTF-16, which only a byte order mark has said that it is.
#[test]
fn what_cannot_be_decoded_is_refused_whoever_named_the_encoding() {
    let text = "\u{feff}datetime,msisdn\n2016-01-01 00:00:00,a?\n2016-01-01 00:00:00,b\n";
    let bytes: Vec<u8> = text
        .encode_utf16()
        .map(|unit| if unit == u16::from(b'?') { 0xd800 } else { unit })
        .flat_map(u16::to_le_bytes)
        .collect();
    let read = of(&bytes, CELLS).unwrap();
    assert_eq!((read.count, read.refused), (1, 1));
}
