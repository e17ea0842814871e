# All seven roles. AutoFlow begins with the example's workflow, and gets its tokens from FlowAuth: what `flowkit autoflow example` and `flowkit auth
# enrol` do by hand.
{ config, lib, ... }:
let
  cfg = config.services.flowkit;
  hardening = import ../lib/hardening.nix { inherit lib; };
  key = "FLOWKIT_AUTOFLOW_FLOWAUTH_KEY";
  state = "/var/lib/flowkit";
  # FlowAuth's first password is among the secrets that are made, and the key is put beside it.
  enrols =
    cfg.makeSecrets
    && cfg.secretsDir == "${state}/secrets"
    && cfg.autoflow.enable
    && cfg.flowauth.enable
    && cfg.flowapi.enable;
  servers = [
    "flowkit-flowapi.service"
    "flowkit-flowauth.service"
  ];
in
{
  imports = [ (import ../lib/scenario.nix "complete" [ ]) ];

  services.flowkit.autoflow = {
    enable = lib.mkDefault true;
    directories.AUTOFLOW_INPUTS_DIR = lib.mkDefault "${../../examples/autoflow}";
    secrets.${key} = lib.mkIf enrols (lib.mkDefault "${cfg.secretsDir}/${key}");
  };

  systemd.services = lib.mkIf enrols {
    flowkit-autoflow = {
      wants = [ "flowkit-enrol.service" ];
      after = [ "flowkit-enrol.service" ];
    };
    flowkit-enrol = {
      description = "AutoFlow's key of FlowAuth";
      wants = servers;
      after = servers;
      # Where FlowAuth is.
      environment = builtins.intersectAttrs cfg.flowauth.settings config.systemd.services.flowkit-flowauth.environment;
      serviceConfig =
        hardening.harden [ ]
        // hardening.network cfg.flowauth.allowedAddresses
        // {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${lib.getExe' cfg.package "flowkit"} auth enrol --dir ${state}";
          ReadWritePaths = [ cfg.secretsDir ];
          # A FlowAuth that is just going down is back soon. AutoFlow waits until it has gone well: otherwise a first failure would end that, too.
          Restart = "on-failure";
          RestartMode = "direct";
          RestartSec = 5;
        };
    };
  };
}
