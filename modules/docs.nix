# The option reference as a file: docs/reference/options.md is a copy of it.
{ pkgs }: pkgs.writeText "options.md" (import ./lib/reference.nix { inherit (pkgs) lib; }).text
