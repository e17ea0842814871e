//! What PostgreSQL is told, and whom it lets in.
//!
//! `postgresql.conf` is initdb's with one line added: lines of an administrator's own below that line win, but for what we
//! rely on ourselves.
//! `flowkit.conf`, `pg_hba.conf` and `pg_ident.conf` are written at every start.

use std::fs;
use std::path::Path;

use super::{certificate, write_whole};
use crate::{Endpoint, Error, MONITOR};

const OURS: &str = "flowkit.conf";

const THEIRS: &str = "postgresql.conf";

/// Read after [`OURS`]: what is so for want of room.
const ROOM: &str = "flowkit.room.conf";

const HEADER: &str = "# Written by flowkit at every start: changes here are lost.\n";

/// Has `postgresql.conf` read ours.
pub fn include_ours(data: &Path) -> Result<(), Error> {
    let path = data.join(THEIRS);
    let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    let include = format!("include '{OURS}'\n");
    write_whole(
        &path,
        &format!("{text}\n# What flowkit derives at every start. Settings below this line win over it.\n{include}"),
    )?;
    // So that the directory can be started by hand even before the first real start.
    write_whole(&data.join(OURS), HEADER)
}

/// The same where the line, or the whole file, was lost; says so. It comes first then: what is there wins.
pub fn have_ours_included(data: &Path) -> Result<Option<String>, Error> {
    let path = data.join(THEIRS);
    let text = fs::read(&path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    if text.lines().any(|line| line.trim_start().starts_with("include") && line.contains(OURS)) {
        return Ok(None);
    }
    write_whole(&path, &format!("include '{OURS}'\n{text}"))?;
    Ok(Some(format!("{} did not include {OURS}: the line was put at its beginning", path.display())))
}

/// What the rest of us relies on: given on the server's command line, which wins over every file.
pub fn relied_on(data: &Path, endpoint: &Endpoint, certified: bool) -> Vec<(&'static str, String)> {
    let Endpoint { socket, listen, port, .. } = endpoint;
    let file = |name: &str| data.join(name).to_string_lossy().into_owned();
    let mut all = vec![
        ("listen_addresses", listen.clone()),
        ("port", port.to_string()),
        // A list, whose items are quoted.
        ("unix_socket_directories", double_quoted(&socket.to_string_lossy())),
        // With peer authentication the socket is only for the user that runs the server, and for root.
        ("unix_socket_permissions", "0700".into()),
        ("password_encryption", "scram-sha-256".into()),
        ("hba_file", file("pg_hba.conf")),
        ("ident_file", file("pg_ident.conf")),
    ];
    if certified {
        let [certificate, key] = certificate::files(data).map(|path| path.to_string_lossy().into_owned());
        all.extend([("ssl", "on".into()), ("ssl_cert_file", certificate), ("ssl_key_file", key)]);
    }
    all
}

/// Lines of an administrator's that have no effect, because we rely on something else.
fn without_effect(data: &Path, ours: &[(&str, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for file in [THEIRS, "postgresql.auto.conf"] {
        let text = fs::read(data.join(file)).unwrap_or_default();
        for line in String::from_utf8_lossy(&text).lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            let name = line.split(|c: char| c == '=' || c.is_whitespace()).next().unwrap_or_default();
            let Some((name, value)) = ours.iter().find(|(ours, _)| ours.eq_ignore_ascii_case(name)) else { continue };
            let plain = |text: &str| text.trim_matches(|c: char| "= '\"\t".contains(c)).to_owned();
            if plain(&line[name.len()..]) != plain(value) {
                found.push(format!(
                    "{file} says `{line}`, which has no effect: {name} is {value}, as flowkit's settings have it"
                ));
            }
        }
    }
    found
}

/// Who is let in as whom.
pub struct Access<'a> {
    pub superuser: &'a str,
    /// Whether the superuser is let in from elsewhere than the socket.
    pub over_tcp: bool,
    /// The name that the server sees for the user that runs it, if any.
    pub user: Option<&'a str>,
}

/// Writes the configuration for this start, `tuning` and what we [rely on](relied_on) being a part of it; what the operator should know comes back.
pub fn write(
    data: &Path,
    relied_on: &[(&str, String)],
    tuning: &str,
    access: &Access<'_>,
) -> Result<Vec<String>, Error> {
    let room = format!("include_if_exists '{ROOM}'\n");
    write_whole(&data.join(OURS), &format!("{HEADER}{}{tuning}{room}", fixed(relied_on)))?;
    keep_out(data, Out::Nobody, access)?;
    write_whole(&data.join("pg_ident.conf"), &access.idents())?;
    Ok(without_effect(data, relied_on))
}

/// Who is kept out for want of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Out {
    /// Nobody: there is room.
    Nobody,
    /// Transactions that write, unless they say that they do.
    Writers,
    /// Everybody but the superuser, and who asks whether the server is ready.
    Others,
}

/// Writes who is kept out from when the server reads its configuration again.
pub fn keep_out(data: &Path, out: Out, access: &Access<'_>) -> Result<(), Error> {
    let setting = if out == Out::Nobody { "" } else { "default_transaction_read_only = on\n" };
    let text = format!("# Written by flowkit: changes here are lost.\n{setting}");
    // The access rules first: they matter more where only one of the files can be written.
    write_whole(&data.join("pg_hba.conf"), &access.rules(out))?;
    write_whole(&data.join(ROOM), &text)
}

/// The same, for those who start the server by hand.
fn fixed(relied_on: &[(&str, String)]) -> String {
    relied_on.iter().map(|(name, value)| format!("{name} = {}\n", quoted(value))).collect()
}

impl Access<'_> {
    /// Passwords everywhere, but for the superuser on the socket, whom the kernel vouches for: so a lost or rotated password
    /// can be set anew. The kernel gives a number, and PostgreSQL wants a name for it; without one a password it is.
    fn rules(&self, out: Out) -> String {
        let (name, method) = (self.superuser, if self.user.is_some() { "peer map=flowkit" } else { "scram-sha-256" });
        let (others, still) = match out {
            Out::Nobody | Out::Writers => ("scram-sha-256", String::new()),
            Out::Others => {
                let here =
                    format!("local   all  {MONITOR}       scram-sha-256\nhost    all  {MONITOR}  all  scram-sha-256\n");
                let superuser = format!("host    all  {name}  all  scram-sha-256\n");
                ("reject", if self.over_tcp { here + &superuser } else { here })
            }
        };
        let refused =
            if self.over_tcp { String::new() } else { format!("host    all          {name}   all      reject\n") };
        format!(
            "{HEADER}\
             # type  database     user     address  method\n\
             local   all          {name}            {method}\n\
             local   replication  {name}            {method}\n\
             {still}\
             local   all          all               {others}\n\
             {refused}\
             host    all          all      all      {others}\n"
        )
    }

    fn idents(&self) -> String {
        let mut text = format!("{HEADER}# map  user of the system  user of the database\n");
        for name in self.user.into_iter().chain((self.user != Some("root")).then_some("root")) {
            text.push_str(&format!("flowkit  {}  {}\n", double_quoted(name), self.superuser));
        }
        text
    }
}

/// As the configuration's grammar has it; a line break can't be written in it and is not in any of our values.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

fn double_quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_let_in_on_trust() {
        for (user, over_tcp) in [(Some("flowkit"), true), (None, false)] {
            let access = Access { superuser: "flowdb", over_tcp, user };
            let text = access.rules(Out::Writers);
            assert_eq!(text.contains("reject"), !over_tcp, "{text}");
            let closed = access.rules(Out::Others);
            let last = |kind: &str| closed.lines().rfind(|line| line.starts_with(kind)).unwrap().ends_with("reject");
            assert!(last("local") && last("host") && !closed.contains("trust"), "{closed}");
            let methods: Vec<&str> = text
                .lines()
                .filter(|line| !line.starts_with('#'))
                .filter_map(|line| {
                    line.split_whitespace().find(|w| ["peer", "scram-sha-256", "trust", "md5"].contains(w))
                })
                .collect();
            assert_eq!(methods.len(), 4);
            assert!(methods.iter().all(|m| *m == "scram-sha-256" || (user.is_some() && *m == "peer")), "{text}");
        }
    }

    #[test]
    fn values_are_quoted_as_the_server_reads_them() {
        assert_eq!(quoted("/srv/it's\\here"), "'/srv/it''s\\\\here'");
    }

    #[test]
    fn the_one_who_runs_the_server_and_root_are_the_superuser() {
        assert_eq!(
            Access { superuser: "flowdb", over_tcp: true, user: Some("flowkit") }.idents(),
            format!(
                "{HEADER}# map  user of the system  user of the database\nflowkit  \"flowkit\"  flowdb\nflowkit  \"root\"  flowdb\n"
            )
        );
    }
}
