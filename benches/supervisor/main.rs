//! Our supervisor beside s6, runit and supervisord, on this machine, in this run: fifty small services.
//!
//! `cargo bench --bench supervisor`. The peers are Debian's packages, taken with `apt-get download`, unpacked under `target/`
//! and laid over `/usr` in a mount namespace of their own (as root); nothing is installed. Each service is this program again: it says on a socket that it runs, then sleeps, so
//! the moment is known to the microsecond and costs all four the same. `FLOWKIT_BENCH_ROUNDS` repeats starts, stops and
//! kills (default 5).

mod peers;
mod processes;

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, ExitCode};
use std::time::{Duration, Instant};

use peers::{Load, Peer};
use processes::{Usage, kill, wait_until};

/// Services in a set.
const SERVICES: usize = 50;
/// Lines of the log test, and their length with the line break.
const LINES: u64 = 1_000_000;
const LENGTH: usize = 100;
/// A service that has run so long is stable for all four.
const STABLE: Duration = Duration::from_millis(2500);
/// How long a peer is watched doing nothing.
const IDLE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).filter(|arg| *arg != "--bench").collect();
    match args[..] {
        ["service", socket, "steady"] => service(socket, false),
        ["service", socket, "family"] => service(socket, true),
        ["service", socket, "flood"] => flood(socket),
        ["supervise", dir, load] => return peers::ours(Path::new(dir), load),
        _ => compare(),
    }
    ExitCode::SUCCESS
}

/// Says that it runs, and sleeps. A `family` has a grandchild in a session of its own.
fn service(socket: &str, family: bool) {
    if family {
        let mut command = std::process::Command::new("/usr/bin/setsid");
        command.args(["-f", "/bin/sleep", "777777"]).status().expect("setsid, of the package util-linux");
    }
    tell(socket, "up");
    loop {
        std::thread::park();
    }
}

/// Writes the lines, says how long the writing took, and sleeps.
#[expect(clippy::disallowed_methods, reason = "what is measured is whether it is read")]
fn flood(socket: &str) {
    use std::io::Write;
    let began = Instant::now();
    let mut out = std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    for i in 0..LINES {
        writeln!(out, "{i:0>width$}", width = LENGTH - 1).expect("somebody reads");
    }
    out.flush().expect("somebody reads");
    tell(socket, &began.elapsed().as_micros().to_string());
    loop {
        std::thread::park();
    }
}

fn tell(socket: &str, text: &str) {
    let from = UnixDatagram::unbound().expect("a socket");
    from.send_to(text.as_bytes(), socket).expect("the benchmark listens");
}

/// One column of the table.
#[derive(Default)]
struct Column {
    name: String,
    rows: Vec<(&'static str, String)>,
}

fn compare() {
    let rounds = std::env::var("FLOWKIT_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let columns: Vec<Column> = peers::all().iter().map(|peer| measure(peer, rounds)).collect();
    let first = &columns[0];
    say::show!("{SERVICES} services, {rounds} rounds, median (worst)\n\n");
    let line = |head: &str, cells: &mut dyn Iterator<Item = &str>| {
        say::show!("{head:<46}{}", cells.map(|cell| format!("{cell:>22}")).collect::<String>());
    };
    line("", &mut columns.iter().map(|column| &*column.name));
    for (row, (label, _)) in first.rows.iter().enumerate() {
        line(label, &mut columns.iter().map(|column| &*column.rows[row].1));
    }
}

fn measure(peer: &Peer, rounds: usize) -> Column {
    say::tell!("measuring {}", peer.name);
    let mut column = Column { name: peer.name.to_owned(), rows: Vec::new() };
    let (mut starts, mut stops) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut run = Run::start(peer, Load::Steady, SERVICES);
        starts.push(run.started);
        stops.push(run.stop());
    }
    column.rows.push(("start command to 50th service running, ms", times(&mut starts)));
    column.rows.push(("stop of 50 willing services, ms", times(&mut stops)));

    let mut run = Run::start(peer, Load::Steady, SERVICES);
    std::thread::sleep(STABLE);
    let mut restarts = run.restarts(20 * rounds.min(5) / 5);
    column.rows.push(("restart after kill -9 of a stable service, ms", times(&mut restarts)));
    std::thread::sleep(STABLE);
    let before = run.usage();
    std::thread::sleep(IDLE);
    let after = run.usage();
    column.rows.push(("processes; PSS, KiB", format!("{}; {}", after.processes, after.pss_kib)));
    column.rows.push(("idle for 10 s: CPU, ms; wake-ups", {
        let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e3;
        format!("{cpu:.1}; {}", after.wakeups.saturating_sub(before.wakeups))
    }));
    run.stop();

    column.rows.push(("left 1 s after kill -9: services; grandchild", {
        let mut left = Vec::new();
        let mut gone = Vec::new();
        for _ in 0..rounds {
            let (services, grandchildren, after) = Run::start(peer, Load::Family, 2).kill_supervisor();
            left.push((services, grandchildren));
            gone.extend(after);
        }
        let (services, grandchildren) = left.into_iter().max().unwrap_or_default();
        match gone.is_empty() {
            true => format!("{services} of 2; {grandchildren} of 2"),
            false => format!("{services}; {grandchildren} in {} ms", times(&mut gone)),
        }
    }));
    let mut rates = Vec::new();
    let mut written = u64::MAX;
    for _ in 0..rounds.min(3) {
        let mut run = Run::start(peer, Load::Flood, 1);
        rates.push(LINES as f64 / run.started_text.parse::<f64>().expect("microseconds"));
        written = written.min(run.log_lines());
        run.stop();
    }
    rates.sort_by(f64::total_cmp);
    column.rows.push(("log: million lines/s as the writer feels it", format!("{:.2}", rates[rates.len() / 2])));
    column.rows.push(("log: whole lines in the file, of a million", written.to_string()));
    column
}

/// Median and worst, in milliseconds.
fn times(all: &mut [Duration]) -> String {
    all.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    format!("{:.1} ({:.1})", ms(all[all.len() / 2]), ms(all[all.len() - 1]))
}

/// A peer with its services up.
struct Run<'a> {
    peer: &'a Peer,
    dir: tempfile::TempDir,
    socket: UnixDatagram,
    root: Child,
    /// From the start to the last service's word.
    started: Duration,
    started_text: String,
}

impl Run<'_> {
    fn start(peer: &Peer, load: Load, services: usize) -> Run<'_> {
        let dir = tempfile::Builder::new().prefix("fkb").tempdir().expect("a directory");
        let path = dir.path().join("up");
        let socket = UnixDatagram::bind(&path).expect("bound");
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a patience");
        let mut command = peer.prepare(dir.path(), load, services, &path);
        let began = Instant::now();
        let root = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", peer.name));
        let mut run = Run { peer, dir, socket, root, started: Duration::ZERO, started_text: String::new() };
        for _ in 0..services {
            run.started_text = run.hear();
        }
        run.started = began.elapsed();
        run
    }

    /// The next word of a service.
    fn hear(&self) -> String {
        let mut text = [0; 64];
        let n = self
            .socket
            .recv(&mut text)
            .unwrap_or_else(|error| panic!("{}: no word of a service: {error}", self.peer.name));
        String::from_utf8_lossy(&text[..n]).into_owned()
    }

    fn services(&self) -> Vec<i32> {
        processes::with_argument(self.dir.path().join("up").as_os_str())
    }

    fn stop(&mut self) -> Duration {
        let services = self.services();
        let began = Instant::now();
        self.peer.stop(self.dir.path(), &self.root);
        wait_until("the services to end", || services.iter().all(|pid| !processes::is_alive(*pid)));
        let took = began.elapsed();
        self.peer.finish(&mut self.root);
        took
    }

    /// Kills one service after the other, each for the first time.
    fn restarts(&self, count: usize) -> Vec<Duration> {
        let services = self.services();
        let mut times = Vec::new();
        for pid in services.into_iter().take(count) {
            let began = Instant::now();
            kill(pid, libc::SIGKILL);
            self.hear();
            times.push(began.elapsed());
        }
        times
    }

    /// What the supervising processes use: everything below the root that is not a service.
    fn usage(&self) -> Usage {
        let services = self.services();
        let all = processes::tree(self.root.id() as i32);
        processes::usage(all.into_iter().filter(|pid| !services.contains(pid)))
    }

    /// Services and grandchildren left a second after the supervisor was killed; the time to nothing left when that was sooner.
    fn kill_supervisor(mut self) -> (usize, usize, Option<Duration>) {
        let services = self.services();
        let grandchildren = processes::with_argument("777777".as_ref());
        kill(self.peer.victim(&self.root), libc::SIGKILL);
        let began = Instant::now();
        let alive = |pids: &[i32]| pids.iter().filter(|pid| processes::is_alive(**pid)).count();
        let mut gone = None;
        while began.elapsed() < Duration::from_secs(1) && gone.is_none() {
            gone = (alive(&services) + alive(&grandchildren) == 0).then(|| began.elapsed());
            std::thread::sleep(Duration::from_micros(500));
        }
        let left = (alive(&services), alive(&grandchildren), gone);
        self.peer.sweep(self.dir.path());
        for pid in self.services().into_iter().chain(grandchildren) {
            kill(pid, libc::SIGKILL);
        }
        let _ = self.root.kill();
        let _ = self.root.wait();
        left
    }

    /// Whole lines that reach the log within two seconds.
    fn log_lines(&self) -> u64 {
        let began = Instant::now();
        loop {
            let lines = self.peer.log_lines(self.dir.path(), LENGTH);
            if lines >= LINES || began.elapsed() > Duration::from_secs(2) {
                return lines;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
