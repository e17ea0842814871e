# Every role that can be run, as options below `services.flowkit`. A role's file can also be imported alone.
{
  imports = map (role: ./. + "/${role}.nix") (builtins.attrNames (import ./lib/catalogue.nix).roles);
}
