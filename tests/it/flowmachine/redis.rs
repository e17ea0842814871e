//! Our redis: who gets in, and what they may do.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use flowkit::redis_server::{Ping, connection_info};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use supervisor::Probe as _;

use crate::support::flowdb::Cluster;
use crate::support::flowmachine::{FlowMachine, wait_for};
use crate::support::skip::{Lack, skip};

#[test]
fn redis_lets_in_who_knows_the_password_and_does_what_flowmachine_needs() {
    let machine = FlowMachine::new();
    let port = machine.cluster.site.settings.port("REDIS_PORT");

    let refused = |password: &str| {
        let client = redis::Client::open(connection_info("127.0.0.1", port, password)).unwrap();
        client.get_connection_with_timeout(Duration::from_secs(5)).err().expect("no entry").to_string()
    };
    assert!(refused("wrong").contains("Password authentication failed"), "{}", refused("wrong"));

    for needed in [
        &["SET", "a", "1"][..],
        &["GET", "a"],
        &["SETNX", "b", "1"],
        &["HSET", "h", "from", "to"],
        &["EVAL", "return redis.call('HGET', KEYS[1], 'from')", "1", "h"],
        &["DEL", "a", "b", "h"],
        &["FLUSHDB"],
    ] {
        machine.redis::<redis::Value>(needed).unwrap_or_else(|error| panic!("{needed:?}: {error}"));
    }
    for refused in [
        &["CONFIG", "GET", "*"][..],
        &["CONFIG", "SET", "dir", "/tmp"],
        &["DEBUG", "SLEEP", "0"],
        &["SHUTDOWN", "NOSAVE"],
        &["SAVE"],
        &["FLUSHALL"],
        &["KEYS", "*"],
        &["ACL", "LIST"],
        &["MODULE", "LIST"],
        &["MONITOR"],
        &["CLIENT", "LIST"],
        &["REPLICAOF", "127.0.0.1", "1"],
        &["BLPOP", "a", "0"],
    ] {
        let answer = machine.redis::<redis::Value>(refused);
        assert!(answer.is_err(), "{refused:?}: {answer:?}");
    }
}

#[test]
fn the_probe_tells_ours_from_another() {
    let mut machine = FlowMachine::new();
    let other = FlowMachine::new();
    let patience = Duration::from_secs(2);
    let probe_of = |machine: &FlowMachine| Ping::of(&machine.cluster.site);
    let as_owner = |probe: &Ping| machine.cluster.as_user(|| probe.check(patience));
    assert_eq!(as_owner(&probe_of(&machine)), Ok(()));

    let mut mistaken = probe_of(&machine);
    mistaken.address = probe_of(&other).address;
    let conf = other.cluster.site.state.role("redis").join("redis.conf");
    assert_eq!(
        as_owner(&mistaken),
        Err(format!("another redis answers at {} (started with {})", mistaken.address, conf.display()))
    );

    let probe = probe_of(&machine);
    machine.kill_redis();
    assert_eq!(machine.cluster.as_user(|| probe.check(patience)), Err("connection refused".into()));
}

/// Anybody can take redis' connections. Those who have one keep it, so redis is not taken for dead and started again.
#[test]
fn a_redis_without_a_connection_left_is_alive() {
    // Ours and redis' own ends: more than a process usually may have.
    const FILES: u64 = 10_000;
    let maximum = getrlimit(Resource::Nofile).maximum.map(|most| most.max(FILES));
    if setrlimit(Resource::Nofile, Rlimit { current: Some(FILES), maximum }).is_err() {
        return skip(Lack::Root, "a process may not have that many files open");
    }
    let machine = FlowMachine::on(Cluster::started());
    let ping = Ping::of(&machine.cluster.site);
    let check = || machine.cluster.as_user(|| ping.check(Duration::from_secs(20)));
    let port = machine.cluster.site.settings.port("REDIS_PORT");
    let mut before = redis::Client::open(machine.sources().redis).unwrap().get_connection().unwrap();
    let full = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        stream.read(&mut [0; 64]).is_ok()
    };
    let mut taken: Vec<TcpStream> = Vec::new();
    while taken.len() < 6_000 && !taken.last_mut().is_some_and(full) {
        taken.push(TcpStream::connect(("127.0.0.1", port)).unwrap());
    }
    assert!((3_000..6_000).contains(&taken.len()), "{}", taken.len());
    assert!(machine.redis::<redis::Value>(&["PING"]).is_err(), "nobody comes in");
    assert_eq!(check(), Ok(()));
    assert_eq!(redis::cmd("PING").query::<String>(&mut before).unwrap(), "PONG");
    drop(taken);
    wait_for("a connection", || {
        check().and_then(|()| machine.redis::<String>(&["PING"]).map(drop).map_err(|e| e.to_string()))
    });
}

/// A script may hold redis up for ever. One that has written nothing is ended; with one that has, redis counts as dead,
/// and the supervisor starts it anew.
#[test]
fn a_script_without_an_end_is_noticed() {
    let mut machine = FlowMachine::new();
    let endless = |machine: &FlowMachine, begin: &str| {
        let client = redis::Client::open(machine.sources().redis).unwrap();
        let script = format!("{begin} while true do end");
        std::thread::spawn(move || {
            let mut connection = client.get_connection().unwrap();
            redis::cmd("EVAL").arg(script).arg(0).exec(&mut connection)
        })
    };
    let ping = Ping::of(&machine.cluster.site);
    let check = |machine: &FlowMachine| machine.cluster.as_user(|| ping.check(Duration::from_secs(5)));

    let is_busy = |machine: &FlowMachine| {
        wait_for("redis to be busy", || match machine.redis::<redis::Value>(&["PING"]) {
            Err(error) if error.to_string().to_uppercase().contains("BUSY") => Ok(()),
            other => Err(format!("{other:?}")),
        })
    };

    let reading = endless(&machine, "");
    is_busy(&machine);
    let why = check(&machine).unwrap_err();
    assert!(why.starts_with("BUSY") || why.contains("busy"), "{why}");
    let ended = reading.join().unwrap().unwrap_err().to_string();
    assert!(ended.contains("killed"), "{ended}");
    assert_eq!(check(&machine), Ok(()));

    let writing = endless(&machine, "redis.call('SET', 'a', '1')");
    is_busy(&machine);
    for _ in 0..3 {
        let why = check(&machine).unwrap_err();
        assert!(why.starts_with("BUSY") || why.contains("busy"), "{why}");
    }
    machine.kill_redis();
    assert!(writing.join().unwrap().is_err());
    machine.start_redis();
    assert_eq!(check(&machine), Ok(()));
}
