//! Which files, and how they are written: what `load` and `check` are told alike.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use etl::{Day, Encoding, Format, Input, Kind, Limit, Moments, Partial, Shape, Writing, Zone};
use flowkit_core::room;
use say::tell;
use time::Date;

use super::super::Failure;
use super::super::demo::date;

/// Files of one kind of events.
#[derive(Args)]
pub struct Files {
    /// What the files hold: calls, sms, mds or topups
    #[arg(value_name = "KIND", value_parser = kind)]
    pub kind: Kind,
    /// Files of CSV, as they are or compressed with gzip or zstd; - for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The day that the files hold [default: the date in each file's name]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    date: Option<Date>,
    /// Several files may hold parts of one day
    #[arg(long)]
    parts: bool,
    /// Between two fields: a character, or tab
    #[arg(long, value_name = "CHARACTER", default_value = ",", value_parser = character)]
    delimiter: u8,
    /// Around a field, and written twice inside of one
    #[arg(long, value_name = "CHARACTER", default_value = "\"", value_parser = character)]
    quote: u8,
    /// What stands for no value, beside nothing
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    null: String,
    /// How the text is encoded, such as windows-1252 [default: UTF-8, or what a byte order mark says]
    #[arg(long, value_name = "NAME", value_parser = encoding)]
    encoding: Option<&'static Encoding>,
    /// Where times are that name no zone: UTC, an offset such as +02:00, or a name such as Africa/Maputo
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = Zone::named)]
    timezone: Zone,
    /// Each file holds a day of --timezone's: a day of UTC is put together out of the two that it is part of
    #[arg(long)]
    local_days: bool,
    /// How times are written: iso, epoch, epoch-ms, or a pattern such as "%d/%m/%Y %H:%M:%S"
    #[arg(long, value_name = "FORMAT", default_value = "iso", value_parser = Writing::named)]
    time_format: Writing,
    /// The file's column NAME holds FlowDB's COLUMN; may be given several times
    #[arg(long, value_name = "COLUMN=NAME", value_parser = pair)]
    map: Vec<(String, String)>,
    /// Leave out a column of the file; may be given several times
    #[arg(long, value_name = "NAME")]
    ignore: Vec<String>,
    /// The files have no header: these are their columns, with commas in between
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    columns: Option<Vec<String>>,
    /// How many of a day's lines may be refused: a number, or a share such as 0.5%
    #[arg(long, value_name = "LIMIT", default_value = "0.1%", value_parser = Limit::named)]
    pub max_rejects: Limit,
    /// Where refused lines are written down, a file a day [default: etl/rejects in the state directory]
    #[arg(long, value_name = "DIR")]
    rejects: Option<PathBuf>,
}

/// A kind of events, by its name.
pub fn kind(text: &str) -> Result<Kind, String> {
    Kind::named(text).ok_or_else(|| "give calls, sms, mds or topups".to_owned())
}

/// One character, by itself or its name.
pub fn character(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Ok(*byte),
        _ => Err("give one ASCII character, or tab".to_owned()),
    }
}

/// An encoding, by one of its names.
pub fn encoding(text: &str) -> Result<&'static Encoding, String> {
    Encoding::for_label(text.as_bytes()).ok_or_else(|| "give a name such as windows-1252 or utf-16le".to_owned())
}

/// A column of FlowDB's, and what a file calls it.
pub fn pair(text: &str) -> Result<(String, String), String> {
    let (column, name) = text.split_once('=').ok_or("give COLUMN=NAME, such as msisdn=caller")?;
    Ok((column.trim().to_owned(), name.trim().to_owned()))
}

/// What files call FlowDB's columns, and those.
pub fn names(pairs: &[(String, String)]) -> Result<HashMap<String, String>, Failure> {
    let mut names: HashMap<String, String> = HashMap::new();
    for (column, name) in pairs {
        let earlier = names.iter().find(|(known, other)| known.eq_ignore_ascii_case(name) && *other != column);
        if let Some((_, other)) = earlier {
            return Err(Failure::mistake(format!("--map: column \"{name}\" can't be both {other} and {column}")));
        }
        names.insert(name.clone(), column.clone());
    }
    Ok(names)
}

impl Files {
    /// The days that the files hold.
    pub fn days(&self) -> Result<Vec<Day>, Failure> {
        let input = |path: &PathBuf| match path == Path::new("-") {
            true => Input::Stdin,
            false => Input::File(path.clone()),
        };
        let inputs: Vec<Input> = self.files.iter().map(input).collect();
        let days = etl::plan(&inputs, self.date, self.parts).map_err(Failure::mistake)?;
        if !self.local_days {
            return Ok(days);
        }
        let (days, partial) = etl::of_local(&days, &self.timezone).map_err(Failure::mistake)?;
        for Partial { date, missing } in partial {
            let missing: Vec<String> = missing.iter().map(Date::to_string).collect();
            tell!(
                "{date}: left for later: a part of it is in the file of the local day {}",
                missing.join(" and in that of ")
            );
        }
        if days.is_empty() {
            let hint = "no day of UTC is whole in these files: name that of the local day after or before as well";
            return Err(Failure::mistake(hint));
        }
        Ok(days)
    }

    /// How they are written.
    pub fn format(&self) -> Result<Format, Failure> {
        if let Some((column, _)) = self.map.iter().find(|(column, _)| self.is_unknown(column)) {
            let columns: Vec<&str> = self.kind.columns().iter().map(|column| column.name).collect();
            let hint = format!("--map: events.{} has no column \"{column}\"; it has {}", self.kind, columns.join(", "));
            return Err(Failure::mistake(hint));
        }
        if self.delimiter == self.quote {
            return Err(Failure::mistake("--delimiter and --quote are the same character"));
        }
        let format = Format {
            shape: Shape { delimiter: self.delimiter, quote: self.quote },
            null: self.null.clone(),
            encoding: self.encoding.filter(|encoding| encoding.name() != "UTF-8"),
            moments: Moments { writing: self.time_format.clone(), zone: self.timezone.clone() },
            columns: self.columns.clone(),
            names: names(&self.map)?,
            ignored: self.ignore.clone(),
        };
        self.refuse_values(&format)?;
        Ok(format)
    }

    /// The first row of a file without a header would be lost in silence. Every file has these columns, so that each such file is seen.
    fn refuse_values(&self, format: &Format) -> Result<(), Failure> {
        let needed = |name: &str| self.kind.columns().iter().any(|column| column.is_needed() && column.name == name);
        let mut map = self.map.iter().filter(|_| self.columns.is_none());
        let Some((column, name)) = map.find(|(column, name)| needed(column) && format.is_value(name)) else {
            return Ok(());
        };
        Err(Failure::mistake(format!(
            "--map {column}={name}: \"{name}\" is a time or a number, as rows have them: for files without a header give --columns NAME,... in place \
             of --map (a header of numbers has to be taken off first)"
        )))
    }

    fn is_unknown(&self, name: &str) -> bool {
        !self.kind.columns().iter().any(|column| column.name == name)
    }

    /// The directory for what is refused, and one for what does not fit into memory: what is in them are subscribers' data.
    pub fn directories(&self, state: &Path) -> Result<(PathBuf, PathBuf), Failure> {
        let spool = state.join("etl");
        let rejects = self.rejects.clone().unwrap_or_else(|| spool.join("rejects"));
        for dir in [&spool, &rejects] {
            private(dir).map_err(|error| NoDirectory(dir.clone(), error))?;
        }
        Ok((spool, rejects))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot make the directory {}", .0.display())]
struct NoDirectory(PathBuf, #[source] io::Error);

/// How much of that directory's disk is left free, which as a rule is FlowDB's: as much as FlowDB's own guard of it keeps
/// ([`room::kept`]), which can't end us.
pub fn keep(spool: &Path, said: Option<i64>) -> Result<u64, Failure> {
    let (_, all) = room::space(spool).map_err(|error| Unmeasured(spool.to_owned(), error))?;
    Ok(room::kept(all, said.map(i64::unsigned_abs)))
}

#[derive(Debug, thiserror::Error)]
#[error("cannot measure the free space of {}", .0.display())]
struct Unmeasured(PathBuf, #[source] io::Error);

fn private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// How many bytes the files of these days have; `None` where one is standard input.
pub fn size(days: &[Day]) -> Option<u64> {
    let inputs = days.iter().flat_map(|day| &day.inputs);
    let sizes = inputs.map(|input| match input {
        Input::File(path) => std::fs::metadata(path).ok().map(|file| file.len()),
        Input::Stdin => None,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert_eq!(character("tab"), Ok(b'\t'));
        assert_eq!(character(";"), Ok(b';'));
        for bad in ["", "ab", "é", "\n"] {
            assert!(character(bad).is_err(), "{bad:?}");
        }
        assert_eq!(pair("msisdn=A number"), Ok(("msisdn".to_owned(), "A number".to_owned())));
        assert!(pair("msisdn").is_err());
        let pairs = |pairs: &[(&str, &str)]| {
            names(&pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect::<Vec<_>>())
        };
        assert_eq!(pairs(&[("imsi", "a"), ("imei", "b"), ("imei", "b")]).ok().map(|names| names.len()), Some(2));
        assert!(pairs(&[("imsi", "network"), ("imei", "Network")]).is_err());
        assert!(encoding("klingon").is_err());
        assert!(kind("forwards").is_err());
    }

    #[test]
    fn what_is_kept_of_the_disk_is_what_somebody_has_said() {
        let dir = tempfile::tempdir().unwrap();
        let kept = |said| keep(dir.path(), said).unwrap();
        assert_eq!((kept(Some(0)), kept(Some(5 << 30))), (0, 5 << 30));
        assert_eq!(kept(None), room::kept(room::space(dir.path()).unwrap().1, None));
        let said = keep(&dir.path().join("none"), None).unwrap_err().to_string();
        assert!(said.contains("cannot measure the free space of") && said.contains("/none"), "{said}");
    }
}
