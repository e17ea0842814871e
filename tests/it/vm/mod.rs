//! The virtual machine and the disk as people get them: `nix run .#appliance-vm`, `.#appliance-disk`.
//!
//! What is seen from outside is tested here: ports, secrets from a directory of the host, a power cut, state that survives.
//! What has to be seen from inside (hardening, who can read which secret, a real query) is `tests/nixos/`, which NixOS hosts
//! run too, and which `nix flake check` runs here.

mod rig;
mod scenarios;

use std::thread;
use std::time::{Duration, Instant};

use rig::{Database, Disk, Machine, Secrets, artefact};

/// Longest wait for a machine to answer. Emulated, with other tests beside it, a minute becomes several.
const PATIENCE: Duration = Duration::from_secs(900);

#[test]
fn the_machine_takes_secrets_from_the_host_and_loses_nothing_in_a_power_cut() {
    let secrets = Secrets::with(&[
        ("REDIS_PASSWORD", "redis-from-the-host-1"),
        ("FLOWDB_POSTGRES_PASSWORD", "super-from-the-host-2"),
    ])
    .with_flowapis();
    let mut machine = Machine::new(artefact("appliance-vm"));

    let started = Instant::now();
    machine.boot(Some(secrets.path()));
    machine.wait_for_redis("redis-from-the-host-1", PATIENCE);
    let mut database = machine.wait_for_flowdb("super-from-the-host-2", PATIENCE);
    say::tell!("first power-on to FlowDB and redis ready: {:.1} s", started.elapsed().as_secs_f64());
    assert!(
        machine.console().contains("leads to port"),
        "the runner says which ports lead inside:\n{}",
        machine.console()
    );

    // Each row is committed by itself, and counted when the database says so; the cut comes while others are on their way.
    database.execute("create table written (n bigint primary key)");
    let cut = thread::spawn({
        let mut power = machine.power();
        move || {
            thread::sleep(Duration::from_secs(5));
            power.cut();
        }
    });
    let mut committed = 0_i64;
    while database.try_execute(&format!("insert into written values ({})", committed + 1)).is_ok() {
        committed += 1;
    }
    cut.join().expect("the thread that cuts the power");
    machine.has_gone();
    assert!(committed > 0, "some rows are written in five seconds");

    // The same disk, without the directory: the secrets are those of the first start.
    let started = Instant::now();
    machine.boot(None);
    let mut database = machine.wait_for_flowdb("super-from-the-host-2", PATIENCE);
    say::tell!("power-on after a power cut to FlowDB ready: {:.1} s", started.elapsed().as_secs_f64());
    let found = database.number("select count(*) from written");
    let highest = database.number("select coalesce(max(n), 0) from written");
    say::tell!("{committed} rows were committed when the power went; {found} are there");
    assert!(found >= committed, "{committed} rows were committed and {found} are there");
    assert_eq!(found, highest, "no row is missing in between");
    machine.wait_for_redis("redis-from-the-host-1", PATIENCE);
    // Last to be ready, and with the host's certificate still.
    assert_eq!(machine.wait_for_flowapi(&secrets, PATIENCE)["days"], serde_json::json!([]));
    say::tell!("power-on after a power cut to FlowAPI's answer: {:.1} s", started.elapsed().as_secs_f64());
}

#[test]
fn the_disk_boots_by_itself_grows_and_takes_secrets_from_a_second_disk() {
    let disk = Disk::of(artefact("appliance-disk"), 4 << 30);
    let secrets = Secrets::with(&[("FLOWDB_POSTGRES_PASSWORD", "super-from-a-disk-3")]);
    let mut machine = disk.machine(&secrets);

    let started = Instant::now();
    machine.power_on();
    let mut database = machine.wait_for_flowdb("super-from-a-disk-3", PATIENCE);
    say::tell!("power-on of the disk image to FlowDB ready: {:.1} s", started.elapsed().as_secs_f64());
    // The state has what the disk has beyond the image.
    let size = database.number(
        "create temp table df (line text);
         copy df from program 'df --output=size --block-size=1M /var/lib/flowkit | tail -n1';
         select trim(line)::bigint from df",
    );
    assert!(size > 2_000, "the state partition has {size} MiB of a disk of 4096");

    // Its identity is kept, though the file system that it is in is not.
    let identity = |database: &mut Database| {
        database.number(
            "create temp table id (line text);
             copy id from program 'cat /etc/machine-id /var/lib/flowkit-machine-id';
             select case when count(distinct line) = 1 then ('x' || left(min(line), 15))::bit(60)::bigint end from id",
        )
    };
    let first = identity(&mut database);
    machine.power().cut();
    machine.has_gone();
    machine.power_on();
    let mut database = machine.wait_for_flowdb("super-from-a-disk-3", PATIENCE);
    assert_eq!(identity(&mut database), first, "the same machine after a power cut");
}
