{
  description = "The corner of nixpkgs that FlowKit uses, made of a Debian machine's own packages (tests/debian/README.md)";

  outputs =
    _:
    let
      lib = import ./lib;
      packagesFor = system: legacyPackages.${system};
      legacyPackages.x86_64-linux = import ./packages {
        inherit lib;
        system = "x86_64-linux";
      };
    in
    {
      lib = lib // {
        nixosSystem = import ./nixos { inherit lib packagesFor; };
      };
      inherit legacyPackages;
    };
}
