//! The question as an analyst puts it: with FlowMachine's library, as a new user of FlowDB, who is gone afterwards.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use time::Date;

use super::{Counts, Error, Target};
use crate::flowdb::users::{self, Role};
use flowkit_core::config::bracketed;
use flowkit_core::secrets::Secret;

/// What the analyst types.
const SCRIPT: &str = include_str!("library.py");
/// How the names of our users begin.
const PREFIX: &str = "verify_";
/// By what ours are known: a person's may be called so, too.
const MARK: &str = "The analyst of one run of flowkit verify";

/// People by area (admin3) at the end of a day.
pub fn counts(target: &Target, day: Date) -> Result<Counts, Error> {
    let name = format!("{PREFIX}{:08x}", rand::random::<u32>());
    let password = Secret::new(format!("{:032x}", rand::random::<u128>()));
    target.ask(async |client| {
        // Those of earlier runs that were killed.
        users::remove_marked(client, MARK, None).await?;
        Ok(users::add_marked(client, &name, Role::Analyst, &password, MARK).await?)
    })?;
    let counts = run(target, day, &name, &password);
    let removed = target.ask(async |client| Ok(users::remove_marked(client, MARK, Some(&name)).await?));
    let counts = counts?;
    removed?;
    Ok(counts)
}

/// Runs the script. Passwords go through a pipe: not on the command line, not in the environment.
fn run(target: &Target, day: Date, name: &str, password: &Secret) -> Result<Counts, Error> {
    let redis_password = target.site.store.get("REDIS_PASSWORD")?;
    let settings = &target.site.settings;
    let given = json!({
        "day": day.to_string(),
        "connection": {
            // It goes into an URL as it is.
            "flowdb_host": settings.text("FLOWDB_HOST").map(bracketed),
            "flowdb_port": settings.port("FLOWDB_PORT"),
            "flowdb_user": name,
            "flowdb_password": password.expose(),
            "redis_host": settings.text("REDIS_HOST"),
            "redis_port": settings.port("REDIS_PORT"),
            "redis_password": redis_password.expose(),
        },
    });
    let failed = |source| Error::Python { program: target.python.display().to_string(), source };
    let mut python = Command::new(target.python);
    python.args(["-I", "-B", "-c", SCRIPT]).current_dir("/");
    python.env_clear().env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8").env("TZ", "UTC");
    python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some((uid, gid)) = target.python_as {
        // Root's supplementary groups go with it.
        python.uid(uid).gid(gid);
    }
    alone(&mut python);
    let mut child = python.spawn().map_err(failed)?;
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(given.to_string().as_bytes()));
    let output = wait(child, target.patience).map_err(failed)?;
    let ended = || Error::Library { status: output.status.to_string(), said: last_lines(&output.stderr) };
    if !output.status.success() {
        return Err(ended());
    }
    written.transpose().map_err(failed)?;
    serde_json::from_slice(&output.stdout).map_err(|_| ended())
}

/// What reads what others stored gets no terminal into which it could type, and no way to more rights; it ends with us.
pub(super) fn alone(python: &mut Command) {
    let alone = || {
        rustix::process::setsid()?;
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        Ok(rustix::thread::set_no_new_privs(true)?)
    };
    // SAFETY: the closure makes system calls only, and takes neither memory nor a lock.
    #[expect(unsafe_code, reason = "what runs between fork and exec has no safe form")]
    unsafe {
        python.pre_exec(alone);
    }
}

/// Waits for a child and what it prints; kills it when patience ends.
pub(super) fn wait(mut child: Child, patience: Duration) -> io::Result<Output> {
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let read = |pipe: Option<&mut dyn Read>| {
        let mut bytes = Vec::new();
        pipe.map(|pipe| pipe.read_to_end(&mut bytes)).transpose().map(|_| bytes)
    };
    thread::scope(|scope| {
        let out = scope.spawn(|| read(stdout.as_mut().map(|pipe| pipe as &mut dyn Read)));
        let err = scope.spawn(|| read(stderr.as_mut().map(|pipe| pipe as &mut dyn Read)));
        let until = Instant::now() + patience;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() >= until {
                child.kill()?;
                break child.wait()?;
            }
            thread::sleep(Duration::from_millis(20));
        };
        let join = |reader: thread::ScopedJoinHandle<io::Result<Vec<u8>>>| {
            reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        Ok(Output { status, stdout: join(out)?, stderr: join(err)? })
    })
}

pub(super) fn last_lines(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(5)..].join("\n  ")
}
