//! A service for the supervisor's tests: does what its arguments say, one after the other.
//!
//! ```text
//! say TEXT | err TEXT          a line on stdout, on stderr
//! raw HEX | fill BYTES | cut   bytes as given; an endless line of `x`; no line break for what `say` writes from here
//! flood LINES LENGTH           numbered lines
//! append FILE TEXT             a line at the end of a file
//! unless FILE STATUS           ends with STATUS when the file is missing
//! sleep MS | exit STATUS | kill SIGNAL
//! fork [ ... ]                 a child that does what is between the brackets
//! bare [ ... ]                 the same with no descriptor but 0, 1, 2
//! setsid                       leaves the session
//! unmark                       sets the limit by which a supervisor knows its processes
//! many N [ ... ]               N children
//! orphans N MS                 N children a round that are orphaned, with a pause of MS, for ever
//! serve FILE [SIGNAL ...]      notes signals in FILE for ever, and ends with status 0 at one that is not listed
//! ```

#![expect(clippy::disallowed_methods, reason = "as a service does that ends when nobody reads")]

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, exit};
use std::time::Duration;

use signal_hook::iterator::Signals;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    run(&mut args.into_iter());
}

/// The next words are arguments of an instruction.
fn word(words: &mut impl Iterator<Item = String>) -> String {
    words.next().expect("an instruction is complete")
}

fn number(words: &mut impl Iterator<Item = String>) -> u64 {
    word(words).parse().expect("a number")
}

/// Everything up to the closing bracket.
fn block(words: &mut impl Iterator<Item = String>) -> Vec<String> {
    assert_eq!(word(words), "[");
    let mut depth = 1;
    let mut inner = Vec::new();
    loop {
        let next = word(words);
        match next.as_str() {
            "[" => depth += 1,
            "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return inner;
        }
        inner.push(next);
    }
}

fn child(words: &[String]) -> Child {
    Command::new(std::env::current_exe().expect("a path")).args(words).spawn().expect("a child")
}

fn run(words: &mut impl Iterator<Item = String>) {
    let mut end = "\n";
    while let Some(instruction) = words.next() {
        match instruction.as_str() {
            "say" => put(format!("{}{end}", word(words)).as_bytes()),
            "err" => writeln!(std::io::stderr(), "{}", word(words)).expect("somebody reads"),
            "cut" => end = "",
            "raw" => put(&hex(&word(words))),
            "fill" => fill(number(words)),
            "flood" => flood(number(words), number(words) as usize),
            "append" => append(&word(words), &word(words)),
            "unless" => {
                let (file, status) = (word(words), number(words) as i32);
                if !std::path::Path::new(&file).exists() {
                    exit(status);
                }
            }
            "sleep" => std::thread::sleep(Duration::from_millis(number(words))),
            "exit" => exit(number(words) as i32),
            "kill" => {
                let signal = number(words) as i32;
                let signal = rustix::process::Signal::from_named_raw(signal).expect("a signal");
                rustix::process::kill_process(rustix::process::getpid(), signal).expect("a signal to myself");
            }
            "setsid" => drop(rustix::process::setsid()),
            "unmark" => {
                let limit = rustix::process::getrlimit(rustix::process::Resource::Locks);
                let limit = rustix::process::Rlimit { current: Some(7), ..limit };
                rustix::process::setrlimit(rustix::process::Resource::Locks, limit).expect("a lower limit");
            }
            "fork" => drop(child(&block(words))),
            "bare" => {
                let inner = block(words);
                let shell = "exec 3>&-; exec \"$@\"";
                let me = std::env::current_exe().expect("a path");
                drop(Command::new("/bin/sh").args(["-c", shell, "sh"]).arg(me).args(inner).spawn().expect("a child"));
            }
            "many" => {
                let count = number(words);
                let inner = block(words);
                (0..count).for_each(|_| drop(child(&inner)));
            }
            "orphans" => orphans(number(words), number(words)),
            "serve" => serve(&word(words), words),
            other => panic!("unknown instruction {other}"),
        }
    }
}

fn put(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).expect("somebody reads");
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hexadecimal")).collect()
}

fn fill(mut bytes: u64) {
    let chunk = vec![b'x'; 1 << 16];
    while bytes > 0 {
        let now = bytes.min(chunk.len() as u64);
        put(&chunk[..now as usize]);
        bytes -= now;
    }
}

fn flood(lines: u64, length: usize) {
    let mut out = std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    for i in 0..lines {
        writeln!(out, "{i:0>length$}").expect("somebody reads");
    }
    out.flush().expect("somebody reads");
}

fn append(file: &str, text: &str) {
    let mut file = File::options().append(true).create(true).open(file).expect("a file");
    file.write_all(format!("{text}\n").as_bytes()).expect("space");
}

fn orphans(count: u64, pause: u64) {
    loop {
        // The shell ends at once and leaves what it started.
        let script = format!("for i in $(seq {count}); do (exit 0) & done");
        Command::new("/bin/sh").args(["-c", &script]).status().expect("a shell");
        std::thread::sleep(Duration::from_millis(pause));
    }
}

/// Signals are noted by name and time in milliseconds, one a line.
fn serve(file: &str, noted: &mut impl Iterator<Item = String>) {
    let noted: Vec<i32> = noted.map(|signal| signal.parse().expect("a signal's number")).collect();
    let all: Vec<i32> = (1..=31).filter(|n| ![4, 8, 9, 11, 17, 19].contains(n)).collect();
    let mut signals = Signals::new(all).expect("handlers");
    append(file, "serving");
    for signal in signals.forever() {
        append(file, &signal.to_string());
        if !noted.contains(&signal) && ![libc::SIGCONT, libc::SIGPIPE, libc::SIGWINCH].contains(&signal) {
            exit(0);
        }
    }
    let _ = std::io::stdin().read(&mut []);
}
