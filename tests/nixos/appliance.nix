# The appliance: every role in one machine. It answers a real query, its units are shut in, a burglar in the place of a role's
# program gets nothing, secrets reach only their own service, and a power cut costs nothing that was committed.
#
# One boot, and one more after the cut, for all of it: under emulation a boot is what takes time.
{ lib, ... }:
let
  # All that the preset has.
  roles = lib.subtractLists [ "autoflow" "flowetl" ] (
    lib.attrNames (import ../../modules/lib/catalogue.nix).roles
  );
  units = map (role: "flowkit-${role}.service") roles;
  python = builtins.toJSON;
  stranger = "127.0.0.1:7000";
  # What a burglar gets by design: FlowDB reads tables of any server.
  allowed = lib.genAttrs roles (_: [ ]) // {
    flowdb = [ "got others' ports: ${stranger}" ];
  };
  burglary = pkgs: import ./burglar { inherit lib pkgs stranger; };
in
{
  name = "appliance";
  globalTimeout = 1800;

  nodes.machine =
    { config, pkgs, ... }:
    {
      imports = [
        ../../images/appliance.nix
        ../../images/vm.nix
      ];
      networking.hostName = "machine";
      environment.systemPackages = [
        (pkgs.writeShellScriptBin "superuser-sql" ''
          export PGPASSWORD=$(cat /var/lib/flowkit/secrets/FLOWDB_POSTGRES_PASSWORD)
          exec ${config.services.flowkit.packages.postgresql}/bin/psql -h localhost -p ${toString config.services.flowkit.flowdb.settings.FLOWDB_PORT} -U flowdb -d flowdb -XtAc "$1"
        '')
      ];
      services.flowkit.packages = (burglary pkgs).packages;
      # Whom it could rob is there before: a neighbour, and somebody who asks for no password.
      systemd.services.flowkit-flowdb.after = [ "flowkit-redis.service" ];
      systemd.services.stranger = {
        wantedBy = [ "multi-user.target" ];
        before = units;
        serviceConfig.ExecStart = "${
          (import ../../packages { inherit pkgs; }).redis
        }/bin/redis-server --port ${lib.last (lib.splitString ":" stranger)} --bind 127.0.0.1 --save ''";
      };
      environment.etc."burglar".source = (burglary pkgs).loose;
      # A password from outside, as a host directory brings it.
      virtualisation.sharedDirectories.secrets.source = lib.mkForce "${pkgs.writeTextFile {
        name = "secrets";
        destination = "/REDIS_PASSWORD";
        text = "from-outside-the-machine";
      }}";
    };

  testScript = ''
    units = ${python units}

    import shlex

    # Runs as a user of the machine, without what root may do.
    def as_user(user, command):
        return f"setpriv --reuid {user} --regid {user} --clear-groups --inh-caps=-all -- sh -c {shlex.quote(command)}"

    with subtest("from power-on to all roles ready"):
        machine.start()
        for unit in units:
            machine.wait_for_unit(unit)
        print(machine.succeed("systemd-analyze || true"))

    with subtest("every role says that it is healthy"):
        for role in ${python roles}:
            machine.succeed(f"flowkit health {role} --dir /var/lib/flowkit/{role}")
            print(machine.succeed(f"flowkit status --dir /var/lib/flowkit/{role}"))

    with subtest("nothing failed while starting"):
        failed = machine.succeed("systemctl --failed --plain --no-legend")
        assert failed.strip() == "", failed

    with subtest("units are shut in"):
        for unit in units:
            overall = machine.succeed(f"systemd-analyze security --no-pager {unit} | tail -n1")
            print(overall)
            score = float(overall.split(":")[1].split()[0])
            assert score < 3.0, f"the exposure of {unit} is {score}"

    def burglary(place):
        text = machine.succeed(f"cat {place}/burglary")
        assert len(text.splitlines()) == 18, text
        return [line for line in text.splitlines() if line.startswith("got ")]

    with subtest("a burglar in the place of a role's program gets nothing of others"):
        # redis was the first, when nobody was there yet.
        machine.succeed("flowkit restart redis --dir /var/lib/flowkit/redis")
        allowed = ${python allowed}
        # Of processes that are hidden from it its own guard is the first that FlowDB may signal; redis' came before.
        guard = machine.succeed("systemctl show --value --property=MainPID flowkit-flowdb.service").strip()
        allowed["flowdb"].insert(0, f"got signals: {guard}")
        got = {role: burglary(f"/var/lib/flowkit/{role}/{role}") for role in allowed}
        assert got == allowed, got

    with subtest("held by nothing it gets all"):
        machine.succeed(
            "cp -rL /etc/burglar /var/burglar && mkdir /var/nobody && touch /var/lib/flowkit/flowkit.toml "
            "&& cd /var/nobody && script -qec /var/burglar/bin/burglar /dev/null; rm /var/lib/flowkit/flowkit.toml"
        )
        got = burglary("/var/nobody")
        assert len(got) == 18, got

    with subtest("FlowMachine has followed redis' restart"):
        status = "flowkit status --dir /var/lib/flowkit/flowmachine"
        machine.wait_until_succeeds(f"{status} | grep -Eq '^neighbours +ready +[0-9:]+ +[1-9]'")
        machine.wait_until_succeeds("flowkit health flowmachine --dir /var/lib/flowkit/flowmachine")

    with subtest("secrets from outside are used, others were made"):
        machine.succeed("test \"$(cat /var/lib/flowkit/secrets/REDIS_PASSWORD)\" = from-outside-the-machine")
        machine.succeed("test -s /var/lib/flowkit/secrets/FLOWMACHINE_FLOWDB_PASSWORD")

    with subtest("secrets are readable by their service only"):
        assert machine.succeed("find /var/lib/flowkit/secrets -perm /077").strip() == ""
        for unit, secret, other in [
            ("flowkit-redis", "REDIS_PASSWORD", "flowkit-flowdb"),
            ("flowkit-flowdb", "FLOWDB_POSTGRES_PASSWORD", "flowkit-redis"),
            ("flowkit-flowapi", "key-flowkit.pem", "flowkit-flowmachine"),
            ("flowkit-flowauth", "PRIVATE_JWT_SIGNING_KEY", "flowkit-flowapi"),
        ]:
            credential = f"/run/credentials/{unit}.service/{secret}"
            machine.succeed(f"test -s {credential}")
            machine.succeed(as_user(unit, f"cat {credential} >/dev/null"))
            machine.fail(as_user(other, f"cat {credential}"))
            machine.fail(as_user(other, f"cat /var/lib/flowkit/secrets/{secret}"))
        # A role gets what it uses and no more.
        machine.fail("test -e /run/credentials/flowkit-redis.service/FLOWDB_POSTGRES_PASSWORD")
        # Who checks tokens can't make them.
        machine.fail("test -e /run/credentials/flowkit-flowapi.service/PRIVATE_JWT_SIGNING_KEY")
        # Neither in a unit's text, nor on a command line, nor in the journal.
        machine.succeed(
            "{ systemctl show '*' --property=Environment,ExecStart; cat /proc/[0-9]*/cmdline; journalctl -b --no-pager; } "
            ">/tmp/seen 2>/dev/null || true"
        )
        # (Names, certificates and public keys are no secrets.)
        for file in machine.succeed("find /var/lib/flowkit/secrets -type f ! -name '*_USER' ! -name '*_IDENTIFIER' ! -name 'PUBLIC_*' ! -name 'cert-*' -printf '%f\\n'").split():
            found = machine.succeed(f"LC_ALL=C grep -acF -f /var/lib/flowkit/secrets/{file} /tmp/seen || true")
            assert int(found) == 0, f"{file} is seen {found} times"

    with subtest("a real query is answered"):
        machine.succeed("flowkit-admin db demo --days 2 --subscribers 300 --sites 20")
        verified = machine.succeed("flowkit-admin verify")
        print(verified)
        # In plain SQL, of FlowAPI, with a token of FlowAuth's, and with the library.
        assert verified.count("equal in") == 4, verified
        assert " s after it was revoked" in verified, verified

    def sql(text):
        return f"superuser-sql {shlex.quote(text)}"

    with subtest("a power cut in the middle of writing"):
        machine.succeed(sql("create table written (n bigint primary key)"))
        machine.execute(
            "systemd-run --unit=writer --setenv=PATH=\"$PATH\" "
            "sh -c 'n=0; while n=$((n+1)); do superuser-sql \"insert into written values ($n)\"; done'"
        )
        machine.wait_until_succeeds(sql("select 1 from written having count(*) > 20") + " | grep -q 1")
        committed = int(machine.succeed(sql("select max(n) from written")).split()[-1])
        machine.crash()
        machine.start()
        for unit in units:
            machine.wait_for_unit(unit)
        found = int(machine.succeed(sql("select count(*) from written")).split()[-1])
        print(f"{committed} rows were committed, {found} are there")
        assert found >= committed

    with subtest("the query is answered as before"):
        print(machine.succeed("flowkit-admin verify"))

    machine.shutdown()
  '';
}
