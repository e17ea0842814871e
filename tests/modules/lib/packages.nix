# A package set of names: enough to see what is made of packages.
rec {
  named = name: {
    type = "derivation";
    inherit name;
    outPath = "/nix/store/00000000000000000000000000000000-${name}";
    meta.mainProgram = name;
  };
  stdenv = {
    hostPlatform.system = "x86_64-linux";
    buildPlatform.canExecute = _: true;
  };
  writeText = name: text: named name // { inherit text; };
  runCommand =
    name: _: command:
    named name // { inherit command; };
  callPackage = file: _: named (baseNameOf (dirOf file));
  redis = named "redis" // {
    override = _: redis;
  };
}
