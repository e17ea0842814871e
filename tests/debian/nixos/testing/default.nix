# `testers.runNixOSTest`: a test of one machine, `{ name, nodes.machine, testScript }`, as a derivation that succeeds when
# the script does. The script is Python and has of NixOS's test driver what driver.py lists. QEMU emulates the processor:
# no builder of ours can count on KVM.
{ lib, pkgs }:
test:
let
  inherit (lib) mkOption types;
  nixosSystem = import ../. {
    inherit lib;
    packagesFor = _: pkgs;
  };

  # nixos/lib/testing/{name,nodes,testScript,run,meta}.nix
  options =
    { config, ... }:
    {
      options = {
        name = mkOption {
          type = types.str;
          description = "Name of the test.";
        };
        defaults = mkOption {
          type = types.deferredModule;
          default = { };
          description = "What all machines have.";
        };
        nodes = mkOption {
          type = types.lazyAttrsOf types.deferredModule;
          default = { };
          description = "Machines; one, called machine, here.";
        };
        testScript = mkOption {
          type = types.either types.str (types.functionTo types.str);
          description = "What is tested, in Python; or a function from { nodes } to it.";
        };
        globalTimeout = mkOption {
          type = types.int;
          default = 3600;
          description = "Seconds after which the test has failed.";
        };
        meta = mkOption {
          type = types.attrs;
          default = { };
          description = "As of any package.";
        };
      };
    };
  inherit (lib.evalModules { modules = [ options ] ++ lib.toList test; }) config;

  machine =
    (nixosSystem {
      modules = [
        config.defaults
        config.nodes.machine
        "${toString ../modules}/virtualisation/qemu-vm.nix"
        ./instrumentation.nix
        { networking.hostName = lib.mkDefault "machine"; }
      ];
    }).config;
  script =
    if lib.isFunction config.testScript then
      config.testScript { nodes = { inherit machine; }; }
    else
      config.testScript;
in
if lib.attrNames config.nodes != [ "machine" ] then
  throw "tests/debian runs tests of one machine, called machine; ${config.name} has ${lib.concatStringsSep ", " (lib.attrNames config.nodes)}"
else
  pkgs.stdenvNoCC.mkDerivation {
    name = "vm-test-run-${config.name}";
    testScript = script;
    passAsFile = [ "testScript" ];
    meta = config.meta;
    passthru = {
      inherit config;
      nodes = { inherit machine; };
    };
    buildCommand = ''
      mkdir -p $out
      timeout --signal=TERM --kill-after=20 ${toString config.globalTimeout} \
        /usr/bin/python3 -B ${./driver.py} ${lib.getExe machine.system.build.vm} "$testScriptPath" $out
    '';
  }
