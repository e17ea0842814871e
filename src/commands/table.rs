//! Tables: aligned columns without lines or colour. That of the services is also drawn again and again for a person who waits.

use comfy_table::{ContentArrangement, Table, presets};
use say::tell;
use say::{self, Shown};
use supervisor::{ServiceState, ServiceStatus};

/// Columns under their heads, each row on a line of its own however long.
pub fn lines<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    format!("{}\n", columns(head, rows).trim_fmt())
}

/// The same, where long texts are broken to fit a terminal.
pub fn fitted<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = columns(head, rows);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    format!("{}\n", table.trim_fmt())
}

fn columns<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head).add_rows(rows);
    table.column_iter_mut().for_each(|column| _ = column.set_padding((0, 2)));
    table
}

/// The services: name, state, since, restarts, address, and what is the matter.
pub fn services(services: &[ServiceStatus]) -> String {
    lines(["SERVICE", "STATE", "SINCE", "RESTARTS", "ADDRESS", ""], services.iter().map(row))
}

fn row(service: &ServiceStatus) -> [String; 6] {
    // A time of day is what a person compares with the clock; the whole stamp is in `--format json`.
    let since = service.since.get(11..19).unwrap_or(&service.since);
    // It comes from a socket, and there from answers of the services.
    let shown = |text: &str| Shown(text).to_string();
    [
        shown(&service.name),
        service.state.to_string(),
        shown(since),
        service.restarts.to_string(),
        shown(service.address.as_deref().unwrap_or_default()),
        shown(service.message.as_deref().unwrap_or_default()),
    ]
}

/// Shows the services while they change: on a terminal a table drawn in place, elsewhere a line for each change.
pub struct Live {
    drawn: usize,
    seen: Vec<(String, String)>,
    terminal: bool,
}

impl Live {
    /// Draws on stderr: stdout is for what scripts read.
    pub fn new() -> Live {
        Live { drawn: 0, seen: Vec::new(), terminal: say::ERR.is_terminal() }
    }

    /// Shows the services as they are now.
    pub fn show(&mut self, services: &[ServiceStatus]) {
        if self.terminal {
            let width = usize::from(terminal_width());
            let lines: Vec<String> =
                self::services(services).lines().map(|line| line.chars().take(width).collect()).collect();
            let mut text = String::new();
            if self.drawn > 0 {
                text += &format!("\x1b[{}A", self.drawn);
            }
            for line in &lines {
                text += &format!("\x1b[2K{line}\n");
            }
            self.drawn = lines.len();
            say::draw(&text);
            return;
        }
        let now: Vec<(String, String)> = services.iter().map(|s| (s.name.clone(), s.state.to_string())).collect();
        for ((name, state), service) in now.iter().zip(services) {
            if !self.seen.contains(&(name.clone(), state.clone())) {
                let address =
                    service.address.as_deref().filter(|_| service.state == ServiceState::Ready).unwrap_or_default();
                tell!("{}", Shown(format!("{name}: {state} {address}").trim_end()));
            }
        }
        self.seen = now;
    }
}

fn terminal_width() -> u16 {
    rustix::termios::tcgetwinsize(rustix::stdio::stderr()).map_or(80, |size| size.ws_col.max(20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_answers_stays_in_its_cell() {
        let service = ServiceStatus {
            name: "redis".into(),
            state: ServiceState::Starting,
            pid: None,
            since: "2026-01-01T10:11:12.000Z".into(),
            follows: Vec::new(),
            restarts: 0,
            address: Some("\x1b]0;owned\x07".into()),
            message: Some("no\nflowdb  ready\u{9b}2J\u{202e}".into()),
            last_exit: None,
        };
        let text = services(&[service]);
        let line = "redis    starting  10:11:12  0         \\u{1b}]0;owned\\u{7}  no\\nflowdb  ready\\u{9b}2J\\u{202e}";
        assert_eq!(text.lines().nth(1), Some(line), "{text}");
        assert_eq!(text.lines().count(), 2);
    }
}
