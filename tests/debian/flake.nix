{
  description = "The corner of nixpkgs that FlowKit uses, made of a Debian machine's own packages (tests/debian/README.md)";

  outputs =
    _:
    let
      lib = import ./lib;
    in
    {
      inherit lib;
      legacyPackages.x86_64-linux = import ./packages {
        inherit lib;
        system = "x86_64-linux";
      };
    };
}
