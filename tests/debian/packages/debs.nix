# Debian's packages as store paths: one a package, so that references, closures and layers are real.
#
# Impure: the files come from the machine's mirror of Debian by apt (their hashes are locked), and are unpacked with the
# machine's dpkg-deb, python3 and patchelf.
{ lib, system }:
let
  lock = builtins.fromJSON (builtins.readFile ../debs.lock.json);

  storeName = builtins.replaceStrings [ "~" ":" "%3a" ] [ "-" "-" "-" ];
  withoutEpoch = version: lib.last (builtins.split "^[0-9]+:" version);

  allDebs = lib.concatMap (path: lib.mapAttrsToList (name: deb: deb // { inherit name; }) path.debs) (
    lib.attrValues lock.paths
  );
  fetched = import ./fetched.nix { inherit system; } "debs" (
    lib.concatMapStringsSep "" (deb: "${deb.sha256} ${deb.file} ${deb.name} ${deb.version}\n") allDebs
  );
  fetch =
    deb:
    fetched {
      name = storeName (baseNameOf deb.file);
      inherit (deb) sha256;
    };

  # What differs for single packages.
  overrides = {
    # A link to the machine's own zone.
    tzdata.drop = [ "share/zoneinfo/localtime" ];
    # Wanted for the locale C.UTF-8.
    libc-bin.drop = [
      "bin"
      "sbin"
      "share"
    ];
    # Its just-in-time compiler, left out (debs.toml). The time zones are at a compiled-in place, which a store path does
    # not fit into; a descriptor that the wrapper opens does (postgresql.nix).
    postgresql-17 = {
      drop = [
        "lib/postgresql/17/lib/bitcode"
        "lib/postgresql/17/lib/llvmjit*"
      ];
      replace =
        map
          (program: [
            "lib/postgresql/17/bin/${program}"
            "/usr/share/zoneinfo"
            "/proc/self/fd/99"
          ])
          [
            "postgres"
            "initdb"
          ];
    };
  }
  //
    lib.genAttrs
      [
        "postgresql-17-postgis-3"
        "postgresql-17-pgrouting"
        "postgresql-17-ogr-fdw"
        "postgresql-17-tds-fdw"
      ]
      (_: {
        drop = [ "lib/postgresql/17/lib/bitcode" ];
      });

  python = builtins.path {
    name = "unpack-deb";
    path = ./.;
    filter =
      path: _:
      lib.elem (baseNameOf path) [
        "elf.py"
        "unpack_deb.py"
      ];
  };

  storePath =
    name: path:
    derivation (
      {
        inherit system;
        name = "${name}-${storeName (withoutEpoch path.debs.${name}.version)}";
        builder = "/bin/bash";
        args = [
          "-euc"
          "PATH=/usr/bin:/bin python3 -B ${python}/unpack_deb.py; exit 0"
        ];
        __structuredAttrs = true;
        debs = lib.mapAttrsToList (name: deb: fetch (deb // { inherit name; })) path.debs;
        libraries = map (dependency: paths.${dependency}) path.depends;
        libc = if name == "libc6" then "" else paths.libc6;
        drop = [ ];
        replace = [ ];
      }
      // overrides.${name} or { }
    )
    // {
      version = lib.last (builtins.match "([0-9]+:)?([0-9.]*[0-9]).*" path.debs.${name}.version);
    };

  paths = lib.mapAttrs storePath lock.paths;
in
paths
