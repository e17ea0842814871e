# Every role on one host but FlowETL, which takes more memory than the others together and is of no use without files to load, and AutoFlow,
# which needs workflows and a token; `services.flowkit.flowetl.enable = true` adds one. Secrets are made at first start. Each part can be
# switched off or set otherwise.
{ lib, ... }:
{
  imports = [ ../. ];

  services.flowkit = {
    makeSecrets = lib.mkDefault true;
  }
  // lib.mapAttrs (_: _: { enable = lib.mkDefault true; }) (
    removeAttrs (import ../lib/catalogue.nix).roles [
      "autoflow"
      "flowetl"
    ]
  );
}
