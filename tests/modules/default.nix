# Our modules, evaluated with good and bad options: `{ lib }` -> the failures, each in a sentence. A case is
#
#   modules   the host
#   holds     host -> facts by name, each true
#   says      parts of the one assertion that fails
#   warns     parts of the one warning
#   refused   a part of the message of an evaluation that fails (the type of an option); only `run.sh` sees messages
{ lib }:
let
  evaluate = import ./lib/evaluate.nix { inherit lib; };
  cases = lib.foldl' (all: file: all // import file { inherit lib; }) { } [
    ./cases/units.nix
    ./cases/hosts.nix
    ./cases/secrets.nix
    ./cases/mistakes.nix
    ./cases/documents.nix
  ];

  holds = part: text: builtins.replaceStrings [ part ] [ "" ] text != text;
  shown = list: if list == [ ] then "nothing" else lib.concatStringsSep "; " list;

  # One text that has all the parts.
  one =
    what: parts: texts:
    if builtins.length texts == 1 && builtins.all (part: holds part (lib.head texts)) parts then
      [ ]
    else
      [ "expected one ${what} with ${shown parts}; got ${shown texts}" ];

  run =
    case:
    let
      host = evaluate.host case.modules;
      forced = builtins.tryEval (builtins.deepSeq host.units true);
      facts = case.holds host;
    in
    if case ? refused then
      lib.optional forced.success "was accepted, and should be refused: ${case.refused}"
    else
      one "assertion" (case.says or [ ]) (if case ? says then host.failed else host.failed ++ [ "" ])
      ++ one "warning" (case.warns or [ ]) (
        if case ? warns then host.warnings else host.warnings ++ [ "" ]
      )
      ++ lib.optionals (case ? holds) (
        map (fact: "is not so: ${fact}") (lib.filter (fact: !facts.${fact}) (lib.attrNames facts))
      );
in
{
  count = builtins.length (lib.attrNames cases);
  failures = lib.concatMap (name: map (failure: "${name}: ${failure}") (run cases.${name})) (
    lib.attrNames cases
  );
  # For the messages: the unit files of what should be refused, and the part of the message to look for.
  refusals = lib.mapAttrs (_: case: {
    message = case.refused;
    units = lib.concatStringsSep "\n" (lib.attrValues (evaluate.host case.modules).units);
  }) (lib.filterAttrs (_: case: case ? refused) cases);
}
