# The systemd unit of a role. The same program and the same way to start and stop as in a container.
{ lib, pkgs }:
{
  name,
  role,
  catalogue,
  cfg,
  flowkit,
  here,
  secrets,
  allSecrets,
  components,
  isApart,
  volumes,
  onlyLocal,
  relax,
  serviceConfig,
  ...
}:
let
  hardening = import ./hardening.nix { inherit lib; };
  user = "flowkit-${name}";

  # Directories of the host: the role's own, which it writes, and what it only reads, shown at the place that a container
  # has it.
  given = map (volume: volume // { host = cfg.directories.${volume.setting}; }) (
    lib.filter (volume: cfg.directories.${volume.setting} != null) volumes
  );
  readOnly = lib.filter (volume: volume.read-only or false) given;
  writable = lib.filter (volume: !(volume.read-only or false)) given;

  settings =
    lib.filterAttrs (_: value: value != null) cfg.settings
    // lib.listToAttrs (
      map (volume: lib.nameValuePair volume.place volume.host) (lib.filter (volume: volume ? place) given)
    );
  checked = import ./check.nix { inherit lib pkgs; } {
    inherit name settings;
    inherit (cfg) package;
    check = flowkit.checkSettings;
  };

  text = value: if builtins.isBool value then builtins.toJSON value else toString value;
  # A per cent sign begins a specifier in a unit.
  escape = lib.replaceStrings [ "%" ] [ "%%" ];
  environment = lib.mapAttrs (_: value: escape (text value)) settings;

  # Variables of the operator's own that are secrets.
  variables = lib.mapAttrsToList (name: path: { inherit name path; }) (
    removeAttrs cfg.secrets (map (secret: secret.name) allSecrets)
  );

  talks = lib.filter (talk: here talk.role) (role.talks-to or [ ]);
  # One that it can do without as long as its components run together.
  where =
    secret:
    let
      given = cfg.secrets.${secret.name};
      needed = isApart && !(secret.make ? template);
    in
    if given == null && needed && cfg.secretsDir != null then
      "${cfg.secretsDir}/${secret.name}"
    else
      given;
  # The certificates by which it knows others: of those that are here, and of those that it can't do without.
  certificates = lib.concatMap (
    talk:
    if here talk.role then
      [
        (
          catalogue.secrets.${talk.certificate}
          // {
            path = flowkit.${talk.role}.secrets.${talk.certificate};
          }
        )
      ]
    else
      lib.optional (!(talk.optional or false) && cfg.secretsDir != null) (
        catalogue.secrets.${talk.certificate} // { path = "${cfg.secretsDir}/${talk.certificate}"; }
      )
  ) (lib.filter (talk: talk ? certificate) (role.talks-to or [ ]));
  # Its own, and these.
  loaded = lib.filter (secret: secret.path != null) (
    map (secret: secret // { path = where secret; }) secrets ++ variables ++ certificates
  );
  credential = secret: "${secret.name}:${escape secret.path}";
  # Where systemd itself looks for what systemd-creds has encrypted.
  encrypted = secret: lib.elem "credstore.encrypted" (lib.splitString "/" secret.path);
  # Two that do without each other need no order.
  neighbours = map (talk: "flowkit-${talk.role}.service") (
    lib.filter (talk: !(talk.optional or false)) talks
  );
  makes = lib.optional flowkit.makeSecrets "flowkit-secrets.service";
  network = lib.optional (!onlyLocal) "network-online.target";

  stop = if settings ? FLOWKIT_STOP_SECONDS then settings.FLOWKIT_STOP_SECONDS else 100;
in
{
  inherit environment checked;

  directories = lib.listToAttrs (
    map (
      volume:
      lib.nameValuePair volume.host {
        d = {
          inherit user;
          group = user;
          mode = "0700";
        };
      }
    ) writable
  );

  service = {
    description = "FlowKit's ${role.title}";
    wantedBy = [ "multi-user.target" ];
    wants = neighbours ++ makes ++ network;
    after = [ "network.target" ] ++ neighbours ++ makes ++ network;
    inherit environment;
    # A settings file that was not accepted stops the build of the unit.
    restartTriggers = [ checked ];
    unitConfig = lib.optionalAttrs (given != [ ]) {
      RequiresMountsFor = map (volume: volume.host) given;
    };

    serviceConfig =
      hardening.harden (relax cfg.settings)
      // hardening.network cfg.allowedAddresses
      // {
        ExecStart = "${lib.getExe' cfg.package "flowkit"} run ${name} --dir /var/lib/flowkit/${name}${
          lib.concatMapStrings (component: " --component ${component}") components
        }";
        User = user;
        Group = user;
        StateDirectory = "flowkit/${name}";
        StateDirectoryMode = "0700";

        # Ready when it answers a real request; silent when its main loop stands still.
        Type = "notify";
        NotifyAccess = "main";
        WatchdogSec = 60;
        # It asks for more while a database recovers.
        TimeoutStartSec = 120;

        # Only the supervisor hears the signal: it stops its services in order, and each in its own way. systemd comes
        # with SIGKILL when its time is up, and a little more.
        KillMode = "mixed";
        TimeoutStopSec = stop + 20;

        # It has restarted its services by itself before it gives up, so what remains needs time or a person. Waiting
        # longer each time costs nothing; giving up would: an address may come late, a disk later.
        Restart = "on-failure";
        RestartSec = 5;
        RestartSteps = 6;
        RestartMaxDelaySec = 300;
        # It knows which of its processes was killed for memory, and starts that one again.
        OOMPolicy = "continue";

        LoadCredential = map credential (lib.filter (secret: !encrypted secret) loaded);
        LoadCredentialEncrypted = map credential (lib.filter encrypted loaded);
        # What stands for a file that is not there: the name that everybody uses, or nothing at all, which the program
        # reports by name, with all others, and with what to do; systemd would only say that credentials failed.
        SetCredential = map (secret: "${secret.name}:${secret.make.fixed or "\\n"}") loaded;
      }
      // lib.optionalAttrs (writable != [ ]) { ReadWritePaths = map (volume: volume.host) writable; }
      // lib.optionalAttrs (readOnly != [ ]) {
        BindReadOnlyPaths = map (volume: "${volume.host}:${volume.container}") readOnly;
      }
      // serviceConfig;
  };
}
