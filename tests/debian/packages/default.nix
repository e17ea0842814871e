# The package set: what flake.nix gives as legacyPackages.
{ lib, system }:
let
  callPackage =
    function: overrides:
    let
      f = if lib.isFunction function then function else import function;
      wanted = builtins.functionArgs f;
      absent = lib.filter (name: !wanted.${name} && !(pkgs ? ${name}) && !(overrides ? ${name})) (
        lib.attrNames wanted
      );
    in
    if absent != [ ] then
      throw "tests/debian has no package ${lib.concatStringsSep ", " absent} (asked for by ${toString function})"
    else
      f (builtins.intersectAttrs wanted pkgs // overrides);

  builders = import ./builders.nix { inherit lib system; };
  debs = import ./debs.nix { inherit lib system; };

  # `elf.patch TREE DEPENDENCY...`, a command: lets the ELF files of a tree find libc and the libraries of dependencies.
  elf.patch = "/usr/bin/python3 -B ${./elf.py} --libc ${debs.libc6}";

  pkgs =
    builders
    // {
      inherit
        lib
        callPackage
        debs
        elf
        pkgs
        ;
      stdenv = builders.stdenvNoCC // {
        cc.cc.lib = debs."libstdc++6";
      };
      zlib = debs.zlib1g;
      inherit (debs) dash tzdata;
      nss_wrapper = debs.libnss-wrapper;
      cacert = builders.runCommand "ca-certificates-${debs.ca-certificates.version}" { } ''
        mkdir -p $out/etc/ssl/certs
        cd ${debs.ca-certificates}/share/ca-certificates/mozilla
        cat *.crt >$out/etc/ssl/certs/ca-bundle.crt
      '';
      gdalMinimal = debs.libgdal36;
      fontconfig = debs.libfontconfig1;
      glib = debs."libglib2.0-0t64";
      # One path each.
      dejavu_fonts = builders.symlinkJoin {
        name = "dejavu-fonts-${debs.fonts-dejavu-core.version}";
        paths = [
          debs.fonts-dejavu-core
          debs.fonts-dejavu-mono
        ];
      };
      harfbuzz = builders.symlinkJoin {
        name = "harfbuzz-${debs.libharfbuzz0b.version}";
        paths = [
          debs.libharfbuzz0b
          debs.libharfbuzz-subset0
        ];
      };
      pango = builders.symlinkJoin {
        name = "pango-${debs."libpango-1.0-0".version}";
        paths = [
          debs."libpango-1.0-0"
          debs."libpangoft2-1.0-0"
        ];
      };
      # Sources of what is Debian's here; nobody asks for them.
      fetchFromGitHub = source: throw "tests/debian does not fetch ${source.owner}/${source.repo}";
      # One program with several names, as Debian has it too. Its libsystemd has nothing of systemd in tow.
      redis =
        builders.runCommand "redis-${debs.redis-tools.version}"
          {
            inherit (debs.redis-tools) version;
            passthru.override = { withSystemd }: pkgs.redis;
            meta.mainProgram = "redis-cli";
          }
          ''
            mkdir -p $out/bin
            ln -s ${debs.redis-tools}/bin/* $out/bin
            ln -s ${debs.redis-tools}/bin/redis-check-rdb $out/bin/redis-server
          '';
    }
    // import ./tools.nix {
      inherit lib elf;
      inherit (builders) runCommand;
      inherit (builders.stdenvNoCC) mkDerivation;
    }
    // import ./rust.nix {
      inherit lib elf system;
      inherit (builders)
        runCommand
        stdenvNoCC
        symlinkJoin
        writeShellScriptBin
        ;
    }
    // {
      testers.runNixOSTest = import ../nixos/testing { inherit lib pkgs; };
    }
    // {
      postgresql_17 = callPackage ./postgresql.nix { };
      python313 = callPackage ./python.nix { };
    };
in
pkgs
