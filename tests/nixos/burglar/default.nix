# FlowKit's packages with a burglar (examples/burglar.rs) in the place of each role's program: inside of the role's unit, it
# tries what it can, ends, and only then the program starts that belongs there.
#
#   stranger   an address where somebody listens who is none of the roles
{
  lib,
  pkgs,
  stranger,
}:
let
  catalogue = import ../../../modules/lib/catalogue.nix;
  packages = import ../../../packages { inherit pkgs; };
  inherit (lib.importTOML ../../../Cargo.toml) workspace;

  # By itself, without the program whose example it is.
  program = pkgs.rustPlatform.buildRustPackage {
    pname = "burglar";
    inherit (workspace.package) version;
    src = pkgs.runCommand "burglar-source" { } ''
      mkdir -p "$out/src"
      cp ${../../../Cargo.lock} "$out/Cargo.lock"
      cp ${
        (pkgs.formats.toml { }).generate "Cargo.toml" {
          package = {
            name = "burglar";
            inherit (workspace.package) version edition;
          };
          dependencies = { inherit (workspace.dependencies) libc rustix; };
        }
      } "$out/Cargo.toml"
      cp ${../../../examples/burglar.rs} "$out/src/main.rs"
    '';
    cargoLock.lockFile = ../../../Cargo.lock;
    doCheck = false;
  };

  others = role: lib.filter (other: other.name != role) (lib.attrValues catalogue.roles);
  names = map (secret: secret.name);
  told =
    role:
    lib.concatLines (
      [
        "alone"
        "leave"
        "port ${stranger}"
      ]
      ++ map (name: "secret /var/lib/flowkit/secrets/${name}") (lib.attrNames catalogue.secrets)
      ++ lib.concatMap (
        other:
        map (name: "secret /run/credentials/flowkit-${other.name}.service/${name}") (
          names (catalogue.secretsOf other)
        )
      ) (others role)
    );
  burglar =
    role:
    pkgs.runCommand "burglar-in-${role}" { } ''
      mkdir -p "$out/bin"
      cp ${program}/bin/burglar "$out/bin"
      cp ${pkgs.writeText "others" (told role)} "$out/bin/others"
    '';

  # `when` is a pattern of the arguments with which the program is the role's service: it may be run for other things, too.
  before =
    role: name: when: program:
    pkgs.writeShellScriptBin name ''
      case $PWD:$* in
        /var/lib/flowkit/${role}/${role}:${when}) ${burglar role}/bin/burglar || echo "the burglar failed" >&2 ;;
      esac
      exec ${program} "$@"
    '';
in
{
  packages = {
    redis = before "redis" "redis-server" "*" "${packages.redis}/bin/redis-server";
    flowapi = before "flowapi" "flowapi" "*" "${packages.flowapi}/bin/flowapi";
    flowauth = before "flowauth" "flowauth" "*" "${packages.flowauth}/bin/flowauth";
    flowmachine = before "flowmachine" "python" "*" "${packages.flowmachine}/bin/python";
    postgresql =
      let
        server = before "flowdb" "postgres" "*listen_addresses=*" "${packages.postgresql}/bin/postgres";
      in
      pkgs.runCommand "postgresql-with-burglar" { } ''
        # The sign of PostGIS, which is looked for beside.
        mkdir -p "$out/bin" "$out/share/postgresql/extension"
        touch "$out/share/postgresql/extension/postgis.control"
        ln -s ${packages.postgresql}/bin/* "$out/bin"
        ln -sf ${server}/bin/postgres "$out/bin/postgres"
      '';
  };

  # For somebody whom nothing holds.
  loose = burglar "nobody";
}
