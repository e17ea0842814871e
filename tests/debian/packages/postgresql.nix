# PostgreSQL with extensions as one tree, laid out as nixpkgs' users see it: programs in bin/, and `withPackages`.
#
# The server finds its libraries and extensions by the path of its own program, links resolved. So the programs of a tree
# are small wrappers that lie in it, and all else in it is links to Debian's packages. The wrapper also says where things
# are that Debian compiles in at places outside the store.
{
  lib,
  callPackage,
  runCommand,
  debs,
  elf,
}:
let
  server = debs.postgresql-17;
  psqlSchema = "17";
  tree = "postgresql/${psqlSchema}";

  environment = {
    # libc looks for C.UTF-8 in a fixed place.
    LOCPATH = "${debs.libc-bin}/lib/locale";
    PROJ_DATA = "${debs.proj-data}/share/proj";
    GDAL_DATA = "${debs.gdal-data}/share/gdal";
  };

  # One extension, or what belongs together: a tree of links.
  extension =
    name: parts:
    runCommand "postgresql-${name}-${(lib.head parts).version}" { inherit (lib.head parts) version; } ''
      mkdir "$out"
      cd "$out"
      for part in ${lib.concatStringsSep " " parts}; do
        cp -rs --no-preserve=mode "$part"/* .
      done
      # As Debian's alternatives do, which are made at installation: postgis.control is postgis-3.control.
      for control in share/${tree}/extension/*-[0-9].control; do
        [ ! -e "$control" ] || ln -s "$(basename "$control")" "''${control%-[0-9].control}.control"
      done
    '';

  # What nixpkgs builds from its source is Debian's package of it.
  postgresqlBuildExtension =
    function:
    let
      args = function args;
    in
    extension args.pname [ debs."postgresql-17-${lib.replaceStrings [ "_" ] [ "-" ] args.pname}" ];

  pkgs = {
    postgis = extension "postgis" [
      debs.postgresql-17-postgis-3
      debs.postgresql-17-postgis-3-scripts
    ];
    pgrouting = extension "pgrouting" [
      debs.postgresql-17-pgrouting
      debs.postgresql-17-pgrouting-scripts
    ];
    tds_fdw = extension "tds_fdw" [ debs.postgresql-17-tds-fdw ];
    callPackage =
      file: overrides:
      callPackage file (
        {
          inherit postgresqlBuildExtension;
          postgresql = combined "postgresql" [ ];
        }
        // overrides
      );
  };

  combined =
    name: extensions:
    runCommand "${name}-${server.version}"
      {
        inherit (server) version;
        passthru = {
          inherit psqlSchema pkgs;
          withPackages = select: combined "postgresql-and-plugins" (select pkgs);
          installedExtensions = extensions;
        };
        meta = {
          mainProgram = "postgres";
          platforms = lib.platforms.linux;
        };
      }
      ''
        mkdir "$out"
        cd "$out"
        for part in ${server} ${lib.concatStringsSep " " extensions}; do
          cp -rs --update=none --no-preserve=mode "$part"/* .
        done

        PATH=$PATH:/usr/lib/stdenv-cc gcc -O2 -Wall -Werror -s -Wl,--build-id=none -o wrapper ${./exec-wrapper.c} \
          -DPROGRAMS='"${server}/lib/${tree}/bin"' -DZONES='"${debs.tzdata}/share/zoneinfo"' -DZONES_FD=99 \
          -DENVIRONMENT='${
            lib.concatStringsSep ", " (
              lib.mapAttrsToList (name: value: ''{"${name}", "${value}"}'') environment
            )
          }'
        ${elf.patch} wrapper
        mkdir bin
        for program in lib/${tree}/bin/*; do
          rm "$program"
          cp wrapper "$program"
          ln -s "../$program" bin
        done
        rm wrapper

        # Clients need nothing of all this.
        ln -s ${debs.postgresql-client-17}/lib/${tree}/bin/* lib/${tree}/bin
        ln -s ${debs.postgresql-client-17}/lib/${tree}/bin/* bin
      '';
in
combined "postgresql" [ ]
