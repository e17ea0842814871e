# What becomes of our outputs, as text: the same in both package sets but for what tests/debian/README.md lists.
{ flake, lib }:
let
  packages = flake.packages.x86_64-linux;
  inherit (flake.nixosConfigurations.appliance) config;
  roles = lib.attrNames (import ../../modules/lib/catalogue.nix).roles;
  ours = lib.filterAttrs (name: _: lib.hasPrefix "flowkit-" name);
  # tests/debian keeps its units among all files.
  unit =
    name:
    if config ? files then
      config.files."/etc/systemd/system/${name}.service".text
    else
      config.systemd.units."${name}.service".text;
in
{
  names = lib.mapAttrs (_: package: package.name) packages;
  images = lib.genAttrs roles (role: packages."${role}-image".image);
  units = lib.mapAttrs (name: _: unit name) (ours config.systemd.services);
  tmpfiles = ours (
    lib.mapAttrs' (
      file: paths:
      lib.nameValuePair (lib.removePrefix "10-" file) (
        lib.mapAttrs (
          _:
          lib.mapAttrs (
            _: rule: {
              inherit (rule)
                age
                argument
                group
                mode
                user
                ;
            }
          )
        ) paths
      )
    ) config.systemd.tmpfiles.settings
  );
  users = lib.mapAttrs (_: user: {
    inherit (user)
      description
      group
      home
      isSystemUser
      ;
  }) (ours config.users.users);
  firewall = { inherit (config.networking.firewall) enable allowedTCPPorts allowedUDPPorts; };
  fileSystems = lib.mapAttrs (_: system: {
    inherit (system)
      autoResize
      device
      fsType
      neededForBoot
      options
      ;
  }) (lib.filterAttrs (path: _: !lib.hasPrefix "/run" path) config.fileSystems);
  disk = {
    inherit (config.image.repart)
      mkfsOptions
      name
      seed
      version
      ;
    partitions = lib.mapAttrs (_: partition: {
      inherit (partition) nixStorePrefix repartConfig;
      contents = lib.mapAttrs (_: content: "${content.source}") partition.contents;
      storePaths = map toString partition.storePaths;
    }) config.image.repart.partitions;
  };
}
