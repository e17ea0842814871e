//! Which ports of this host are free.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use super::Deployment;
use flowkit_core::catalogue::{Port, Role, catalogue};
use flowkit_core::config::Problem;

/// Time between two looks at a port that is taken.
const PAUSE: Duration = Duration::from_millis(500);

/// A problem for each address of the deployment's roles that somebody else listens on, naming who where that can be seen: root sees
/// more, so it is asked before root becomes somebody else.
pub fn free_ports(deployment: &Deployment) -> Vec<Problem> {
    let roles = deployment.roles.iter().filter_map(|role| catalogue().role(role));
    let ports = roles.flat_map(|role| role.ports.iter().map(move |port| (role, port)));
    let ports = ports.filter(|(role, port)| listens(deployment, role, port));
    let mut problems = Vec::new();
    for (role, port) in ports {
        let Some(listen) = &port.listen else { continue };
        match deployment.socket(listen, &port.setting) {
            Ok(address) => problems.extend(taken(&role.name, &port.setting, address)),
            Err(problem) => problems.push(problem),
        }
    }
    problems
}

/// Waits until nobody listens where a role is about to; says so. A service whose port somebody else has taken would only die,
/// until the supervisor gave everything up.
pub fn await_free(deployment: &Deployment, role: &str, tell: impl Fn(&str)) {
    let role = catalogue().role(role).expect("a role of the catalogue");
    let ports = role.ports.iter().filter(|port| listens(deployment, role, port));
    let addresses = ports.filter_map(|port| deployment.socket(port.listen.as_ref()?, &port.setting).ok());
    for address in addresses {
        let mut told = false;
        while TcpListener::bind(address).is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse) {
            if !told {
                let holder =
                    holder(address.port()).map_or(String::new(), |(pid, name)| format!(": {name} (pid {pid})"));
                tell(&format!("waiting until another process{holder} no longer listens at {address}"));
                told = true;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Whether the role listens there, as it is run here. Not asked of what its components have between them: that may be the operator's, elsewhere.
fn listens(deployment: &Deployment, role: &Role, port: &Port) -> bool {
    let mut components = role.components.iter().filter(|component| component.ports.contains(&port.name));
    let here = role.components.is_empty() || components.any(|component| deployment.runs(&component.name));
    here && !port.between && (!port.apart || role.is_apart(&deployment.site.settings))
}

fn taken(role: &str, setting: &str, address: SocketAddr) -> Option<Problem> {
    let error = TcpListener::bind(address).err()?;
    let why = if error.kind() == std::io::ErrorKind::AddrInUse {
        let by =
            holder(address.port()).map_or("another process".to_string(), |(pid, name)| format!("{name} (pid {pid})"));
        format!("{by} listens there")
    } else {
        error.to_string()
    };
    let hint = format!("{why}: stop it, or give {setting} another value in flowkit.toml or with --set");
    Some(Problem::new(format!("cannot use the address of {role}"), hint).value(address.to_string()))
}

/// Who listens on a TCP port: the socket's inode from `/proc/self/net/tcp*`, then the process that holds it. `None` where
/// we may not look.
fn holder(port: u16) -> Option<(u32, String)> {
    let tables =
        ["/proc/self/net/tcp", "/proc/self/net/tcp6"].into_iter().filter_map(|path| fs::read_to_string(path).ok());
    let lines: Vec<String> = tables.flat_map(|table| table.lines().map(str::to_string).collect::<Vec<_>>()).collect();
    // sl local_address rem_address st ... inode: state 0A is LISTEN, the port is in hexadecimal
    let suffix = format!(":{port:04X}");
    let inode = lines.iter().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(1)?.ends_with(&suffix) && *fields.get(3)? == "0A").then(|| fields.get(9).map(|i| i.to_string()))?
    })?;
    let socket = format!("socket:[{inode}]");
    let pids = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.into_iter().find_map(|pid: u32| {
        let mut open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        let holds = open.any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == socket.as_str()));
        let name = || fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_string();
        holds.then(|| (pid, name()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let problem = taken("flowdb", "FLOWDB_PORT", address).expect("the port is taken");
        assert!(problem.hint.contains(&format!("pid {}", std::process::id())), "{}", problem.hint);
        drop(listener);
        assert!(taken("flowdb", "FLOWDB_PORT", address).is_none());
    }
}
