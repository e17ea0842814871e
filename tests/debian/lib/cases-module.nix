# Imported twice by a case of cases.nix, and declared once.
{ lib, ... }:
{
  options.words = lib.mkOption { type = lib.types.listOf lib.types.str; };
  config.words = [ "imported" ];
}
