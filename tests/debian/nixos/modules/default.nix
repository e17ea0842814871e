# All that a system can be told.
{
  imports = [
    ./assertions.nix
    ./boot.nix
    ./environment.nix
    ./networking.nix
    ./nixpkgs.nix
    ./services.nix
    ./systemd.nix
    ./toplevel.nix
    ./users.nix
  ];
}
