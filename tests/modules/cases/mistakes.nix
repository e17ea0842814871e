# Settings of the wrong kind or in the wrong place.
{ lib }:
let
  single = ../../../modules/presets/single-host.nix;
  flowdb = options: [
    single
    { services.flowkit.flowdb = options; }
  ];
  setting = name: value: flowdb { settings.${name} = value; };
in
{
  "a port as text" = {
    modules = setting "FLOWDB_PORT" "9000";
    refused = "16 bit unsigned integer";
  };
  "a port that is none" = {
    modules = setting "FLOWDB_PORT" 70000;
    refused = "16 bit unsigned integer";
  };
  "a flag as text" = {
    modules = setting "NO_USE_JIT" "yes";
    refused = "boolean";
  };
  "no choice" = {
    modules = setting "FLOWDB_LOG_DEST" "syslog";
    refused = "one of";
  };
  "too many workers" = {
    modules = setting "MAX_WORKERS" 2000;
    refused = "integer between 1 and 1024";
  };
  "less than nothing" = {
    modules = setting "CACHE_PROTECTED_PERIOD" (-1);
    refused = "integer between 0 and 2147483647";
  };
  "a size that is a list" = {
    modules = setting "CACHE_SIZE" [ 1 ];
    refused = "unsigned integer, meaning >=0, or non-empty string";
  };
  "a list under an unknown name" = {
    modules = setting "SOMETHING" [ 1 ];
    refused = "boolean or signed integer";
  };
  "a relative program directory" = {
    modules = setting "FLOWKIT_POSTGRES_BIN" "bin";
    refused = "absolute path";
  };
  "an option that does not exist" = {
    modules = flowdb { seetings.FLOWDB_PORT = 1; };
    refused = "does not exist";
  };
  "a role that does not exist" = {
    modules = [
      single
      { services.flowkit.flowbd.enable = true; }
    ];
    refused = "does not exist";
  };

  "a setting for stacks" = {
    modules = setting "FLOWDB_HOST_PORT" 9000;
    says = [
      "services.flowkit.flowdb.settings.FLOWDB_HOST_PORT is for stacks"
      "FLOWDB_PORT, FLOWKIT_FLOWDB_LISTEN"
    ];
  };
  "the data's place among the settings" = {
    modules = setting "FLOWKIT_FLOWDB_DATA" "/srv/flowdb";
    says = [ "set by services.flowkit.flowdb.directories.FLOWDB_DATA_DIR" ];
  };
  "the directory's name among the settings" = {
    modules = setting "FLOWDB_DATA_DIR" "/srv/flowdb";
    says = [ "set by services.flowkit.flowdb.directories.FLOWDB_DATA_DIR" ];
  };
  "data at home" = {
    modules = flowdb { directories.FLOWDB_DATA_DIR = "/home/ann/flowdb"; };
    says = [
      "the unit cannot see /home/ann/flowdb"
      "/srv/flowdb"
    ];
  };
  "a setting that nobody reads" = {
    modules = setting "AUTO_CONFIG_FILE_NAME" "x.conf";
    warns = [
      "services.flowkit.flowdb.settings.AUTO_CONFIG_FILE_NAME has no effect"
      "derived again at every start"
    ];
  };
  "settings that can't be checked" = {
    modules = [
      single
      { services.flowkit.checkSettings = false; }
    ];
    warns = [ "settings are not checked in this build" ];
    holds = host: {
      "and are not" = !((lib.head host.config.systemd.services.flowkit-flowdb.restartTriggers) ? command);
    };
  };
  # Unknown names are for `flowkit check-config` to refuse: it knows the catalogue of the program that will run.
  "a name that only the program knows" = {
    modules = setting "FLOWDB_PROT" 9000;
    holds = host: {
      "is checked with the others" =
        host.config.systemd.services.flowkit-flowdb.environment.FLOWDB_PROT == "9000";
    };
  };
}
