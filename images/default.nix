# The image of each role, and the bundle of them all.
#
# What the catalogue says of a role (ports, volumes, settings) becomes the image's configuration here, in the same way
# for all. `<role>.nix` has only what data cannot say:
#
#   env     variables that name programs and files
#   links   symbolic links of the image's own
#   path    packages whose programs `docker exec` finds
#   closure other packages that `env` and `links` name
#   top     small packages that change often, so that they come last
{ pkgs, packages }:
let
  inherit (pkgs) lib;
  catalogue = import ../src/roles;
  inherit ((lib.importTOML ../Cargo.toml).workspace.package) version license;

  # Settings that make a role listen and keep its data where containers do.
  settings =
    role:
    lib.listToAttrs (
      lib.concatMap (port: [
        (lib.nameValuePair port.setting (toString port.container))
        (lib.nameValuePair port.listen "0.0.0.0")
      ]) (lib.filter (port: port ? listen) (role.port or [ ]))
      ++ map (volume: lib.nameValuePair volume.place volume.container) (
        lib.filter (volume: volume ? place) (role.volume or [ ])
      )
    );

  written = role: lib.filter (volume: !(volume.read-only or false)) (role.volume or [ ]);
  seconds = count: count * 1000000000;

  image =
    name:
    let
      role = catalogue.${name};
      own = {
        env = { };
        path = [ ];
        links = { };
        closure = [ ];
        top = [ ];
      }
      // import (./. + "/${name}.nix") { inherit pkgs packages; };

      # The state of a run (sockets, generated files, private copies of secrets) is in the memory file system that every
      # engine gives a container, so the root file system may be read-only.
      run = "/dev/shm/flowkit";
      env =
        settings role
        // own.env
        // {
          PATH = lib.concatStringsSep ":" ([ "/bin" ] ++ map (package: "${package}/bin") own.path);
        };

      entry = path: attrs: attrs // { inherit path; };
      text =
        path: lines:
        entry path {
          type = "file";
          text = lib.concatStringsSep "\n" (lines ++ [ "" ]);
        };
      directory =
        mode: path:
        entry path {
          type = "directory";
          inherit mode;
        };
      link =
        path: target:
        entry path {
          type = "symlink";
          inherit target;
        };
    in
    pkgs.stdenvNoCC.mkDerivation (self: {
      name = "${name}-image";

      # The builder reads all of this, and the closure's graph, as JSON.
      __structuredAttrs = true;
      exportReferencesGraph.graph = own.path ++ own.closure ++ own.top ++ [ packages.flowkit ];
      image = {
        name = "flowkit/${name}";
        tag = version;
        architecture =
          {
            x86_64-linux = "amd64";
            aarch64-linux = "arm64";
          }
          .${pkgs.stdenv.hostPlatform.system};
        os = "linux";
        created = "1970-01-01T00:00:01Z";
        # Docker before 23 loads no zstd.
        compression = "gzip";
        max-layers = 60;
        top = own.top ++ [ packages.flowkit ];
        config = {
          Entrypoint = [
            "/bin/flowkit"
            "run"
            name
            "--dir"
            run
          ];
          Env = lib.attrValues (lib.mapAttrs (variable: value: "${variable}=${value}") env);
          User = "1000:1000";
          WorkingDir = "/";
          StopSignal = "SIGTERM";
          ExposedPorts = lib.listToAttrs (
            map (port: lib.nameValuePair "${toString port.container}/tcp" { }) (
              # What has no address to listen at is of the loopback.
              lib.filter (port: port ? listen) (role.port or [ ])
            )
          );
          Volumes = lib.genAttrs (map (volume: volume.container) (written role)) (_: { });
          Healthcheck = {
            Test = [
              "CMD"
              "/bin/flowkit"
              "health"
              name
              "--dir"
              run
            ];
            Interval = seconds 10;
            Timeout = seconds 10;
            Retries = 3;
            # A recovery after a crash takes as long as it takes; only then do failures count.
            StartPeriod = seconds 600;
            StartInterval = seconds 2;
          };
          Labels = self.image.annotations;
        };
        annotations = {
          "org.opencontainers.image.title" = role.title;
          "org.opencontainers.image.description" = role.summary;
          "org.opencontainers.image.version" = version;
          "org.opencontainers.image.licenses" = license;
        };
        entries = [
          (text "/etc/passwd" [
            "root:x:0:0:root:/:/bin/false"
            "flowkit:x:1000:1000:FlowKit:/:/bin/false"
            # Whom root, should somebody start it as that, runs the role as.
            "flowkit-${name}:x:1000:1000:FlowKit:/:/bin/false"
          ])
          (text "/etc/group" [
            "root:x:0:"
            "flowkit:x:1000:"
          ])
          (text "/etc/nsswitch.conf" [ "hosts: files dns" ])
          (directory "1777" "/tmp")
          (link "/bin/flowkit" "${packages.flowkit}/bin/flowkit")
        ]
        ++ map (volume: directory (if volume.read-only or false then "0755" else "1777") volume.container) (
          role.volume or [ ]
        )
        ++ lib.attrValues (lib.mapAttrs link own.links);
      };

      format = "archive";
      nativeBuildInputs = [ packages.flowkit ];
      buildCommand = ''
        flowkit image build "$NIX_ATTRS_JSON_FILE" --format "$format" --threads "$NIX_BUILD_CORES" --out "$out"
      '';
      # An image holds the closure that it names; it must not drag it along a second time.
      unsafeDiscardReferences.out = true;
      preferLocalBuild = true;

      passthru = {
        # The OCI layout as a directory.
        layout = self.finalPackage.overrideAttrs (_: {
          name = "${name}-image-layout";
          format = "layout";
        });
        # Gives the image to the engine at hand, and only the layers that it lacks where that can be had.
        load = pkgs.writeShellApplication {
          name = "load-${name}-image";
          text = ''exec ${lib.getExe packages.flowkit} image load ${self.finalPackage} "$@"'';
        };
      };
      meta = {
        description = "OCI image of ${role.title}: ${role.summary}";
        license = lib.licenses.mpl20;
        platforms = lib.platforms.linux;
      };
    });

  images = lib.mapAttrs (name: _: image name) catalogue;

  # `flowkit` for any Linux of this processor, with the libraries that it is linked to and what loads them: where images are deployed is no Nix.
  flowkit-portable = pkgs.runCommand "flowkit-portable-${version}" { } ''
    program=${lib.getExe packages.flowkit}
    loader=$(patchelf --print-interpreter "$program")
    mkdir -p "$out/lib"
    cp "$program" "$out/lib/flowkit"
    cp "$loader" "$out/lib/loader"
    cp $("$loader" --list "$program" | sed -nE 's|.* => (/[^ ]+) .*|\1|p') "$out/lib"
    cat > "$out/flowkit" <<'SCRIPT'
    #!/bin/sh
    lib=$(dirname -- "$(readlink -f -- "$0")")/lib
    exec "$lib/loader" --library-path "$lib" "$lib/flowkit" "$@"
    SCRIPT
    chmod 755 "$out/flowkit" "$out"/lib/*
  '';
in
images
// {
  inherit flowkit-portable;

  # Every image with the command that deploys them, a stack that runs them and checksums, as plain files to carry behind a firewall.
  bundle =
    pkgs.runCommand "flowkit-bundle-${version}" { nativeBuildInputs = [ packages.flowkit ]; }
      ''
            cp --recursive --no-preserve=mode,ownership ${flowkit-portable} "$out"
            chmod 755 "$out/flowkit" "$out"/lib/*
            ${lib.concatMapStringsSep "\n" (name: "cp ${images.${name}} \"$out/${name}-image\"") (
              lib.attrNames images
            )}
            # No settings but the defaults: those of a machine are given where it is deployed.
        flowkit stack --dir "$PWD" > "$out/stack.yml"
            cd "$out"
            sha256sum -- *-image stack.yml flowkit lib/* > SHA256SUMS
      '';
}
