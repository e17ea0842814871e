# In the place of nixpkgs' nixfmt, with hackage-packages.nix.
{ runCommand }: runCommand "nixfmt-stub" { meta.mainProgram = "nixfmt"; } "exit 1"
