# Units as files: { path = { text } or { link } }.
{ lib, pkgs }:
let
  value = v: if builtins.isBool v then lib.boolToString v else toString v;
  lines = key: v: map (v: "${key}=${value v}") (lib.toList v);
  section =
    name: settings:
    let
      body = lib.concatLists (lib.mapAttrsToList lines settings);
    in
    lib.optionals (body != [ ]) ([ "[${name}]" ] ++ body ++ [ "" ]);
  present = lib.filterAttrs (_: v: v != [ ] && v != "" && v != null);
  joined = lib.mapAttrs (_: lib.concatStringsSep " ");

  unit =
    u:
    section "Unit" (
      present (joined {
        After = u.after;
        Before = u.before;
        BindsTo = u.bindsTo;
        Conflicts = u.conflicts;
        Documentation = u.documentation;
        OnFailure = u.onFailure;
        PartOf = u.partOf;
        Requires = u.requires;
        Requisite = u.requisite;
        Wants = u.wants;
        X-Restart-Triggers = map toString u.restartTriggers;
      })
      // present {
        Description = u.description;
        StartLimitBurst = u.startLimitBurst or null;
        StartLimitIntervalSec = u.startLimitIntervalSec or null;
      }
      // u.unitConfig
    );

  # nixos/lib/systemd-lib.nix: makeJobScript
  script =
    name: text:
    "${
      pkgs.writeTextFile {
        name = "unit-script-${name}";
        executable = true;
        destination = "/bin/${name}";
        text = "#!/bin/bash -e\n${text}\n";
        checkPhase = ''bash -n "$target"'';
      }
    }/bin/${name}";

  service =
    name: s:
    let
      path = lib.concatStringsSep ":" (
        lib.concatMap (p: [
          "${p}/bin"
          "${p}/sbin"
        ]) s.path
        # Of what NixOS puts there, and no more (base.sh).
        ++ [ "/usr/lib/unit-path" ]
      );
      environment = lib.filterAttrs (_: v: v != null) ({ PATH = path; } // s.environment);
    in
    unit s
    ++ section "Service" (
      {
        Environment = lib.mapAttrsToList (n: v: builtins.toJSON "${n}=${toString v}") environment;
      }
      // lib.optionalAttrs (s.preStart != "") {
        ExecStartPre = [ (script "${name}-pre-start" s.preStart) ];
      }
      // lib.optionalAttrs (s.script != "") { ExecStart = script "${name}-start" s.script; }
      // lib.optionalAttrs (s.postStart != "") {
        ExecStartPost = [ (script "${name}-post-start" s.postStart) ];
      }
      // s.serviceConfig
    );

  files =
    suffix: render: units:
    lib.concatMapAttrs (
      name: u:
      let
        file = "${name}.${suffix}";
        place = "/etc/systemd/system/${file}";
        wanted =
          kind: targets:
          lib.listToAttrs (
            map (
              target: lib.nameValuePair "/etc/systemd/system/${target}.${kind}/${file}" { link = place; }
            ) targets
          );
      in
      if !u.enable then
        { ${place}.link = "/dev/null"; }
      else
        {
          ${place}.text = lib.concatLines (render name u);
        }
        // wanted "wants" u.wantedBy
        // wanted "requires" u.requiredBy
    ) units;
in
{
  services = files "service" service;
  targets = files "target" (_: unit);
}
