# Modules that look after options that have moved or gone, and definitions that come with a condition.
{ lib }:
let
  inherit (lib)
    mkIf
    mkMerge
    mkOption
    showOption
    ;
in
{
  mkAssert =
    assertion: message: mkIf (if assertion then true else throw "\nFailed assertion: ${message}");

  # The old name of an option: a definition of it is one of the new name, and a warning.
  mkRenamedOptionModule = from: to: { config, options, ... }: {
    options = lib.setAttrByPath from (mkOption {
      visible = false;
      description = "Alias of {option}`${showOption to}`.";
      apply = _: lib.getAttrFromPath to config;
    });
    config =
      let
        old = lib.getAttrFromPath from options;
      in
      mkMerge [
        (lib.optionalAttrs (options ? warnings) {
          warnings = lib.optional old.isDefined "The option `${showOption from}' defined in ${
            lib.concatMapStringsSep " and " (f: "`${f}'") old.files
          } has been renamed to `${showOption to}'.";
        })
        (lib.setAttrByPath to (mkIf old.isDefined (mkMerge old.definitions)))
      ];
  };
  mkRemovedOptionModule = path: advice: { options, ... }: {
    options = lib.setAttrByPath path (mkOption {
      visible = false;
      apply =
        _: throw "The option `${showOption path}' can no longer be used since it's been removed. ${advice}";
    });
    config.assertions =
      let
        old = lib.getAttrFromPath path options;
      in
      [
        {
          assertion = !old.isDefined;
          message = "The option definition `${showOption path}' in ${
            lib.concatMapStringsSep " and " (f: "`${f}'") old.files
          } no longer has any effect; please remove it.\n${advice}";
        }
      ];
  };
}
