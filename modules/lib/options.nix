# Options out of the catalogue: a typed one for each setting, a path for each secret and each directory of the host.
{ lib }:
let
  inherit (lib) mkOption types;

  # A value that is spoken of keeps its own spelling.
  sentence =
    text:
    (
      if builtins.match "(true|false) .*|[^ ]+: .*" text != null then
        text
      else
        lib.toUpper (builtins.substring 0 1 text) + builtins.substring 1 (-1) text
    )
    + ".";

  whole =
    setting:
    if setting ? min && setting ? max then
      types.ints.between setting.min setting.max
    else if setting.min or null == 0 then
      types.ints.unsigned
    else if setting.min or null == 1 then
      types.ints.positive
    else
      types.int;

  absolute = types.pathWith { absolute = true; };

  # How each type of the catalogue looks here, with a value that is of it. What a type cannot say (other bounds, the form
  # of a size or an address) `flowkit check-config` says when the configuration is built.
  kinds = {
    text = _: {
      type = types.singleLineStr;
      example = "text";
    };
    integer = setting: {
      type = whole setting;
      example =
        if setting.min or 0 > 16 then
          setting.min
        else if setting.max or 16 < 16 then
          setting.max
        else
          16;
    };
    seconds = setting: {
      type = whole setting;
      example = 3600;
    };
    bytes = _: {
      type = types.either types.ints.unsigned types.nonEmptyStr;
      example = "16GB";
    };
    number = _: {
      type = types.number;
      example = 500;
    };
    port = setting: {
      type = types.port;
      example = setting.default or 1000 + 100;
    };
    flag = setting: {
      type = types.bool;
      example = !(setting.default or false);
    };
    path = _: {
      type = absolute;
      example = "/srv/flowkit";
    };
    host = _: {
      type = types.nonEmptyStr;
      example = "flowkit.example.org";
    };
    address = _: {
      type = types.nonEmptyStr;
      example = "10.0.0.5";
    };
    url = _: {
      type = types.nonEmptyStr;
      example = "https://flowkit.example.org:9090";
    };
    choice = setting: {
      type = types.enum setting.choices;
      example = lib.last setting.choices;
    };
  };
in
rec {
  # A file that the store must never hold.
  secretPath = types.pathWith {
    inStore = false;
    absolute = true;
  };

  # What a setting may be that the catalogue does not know: `flowkit check-config` has the last word on it.
  freeform = types.attrsOf (
    types.nullOr (
      types.oneOf [
        types.bool
        types.int
        types.float
        types.str
      ]
    )
  );

  # `given` is a default that only the module knows: { value; text; }.
  setting =
    setting: given:
    let
      kind = kinds.${setting.type} setting;
      default = if given != null then given.value else setting.default or null;
    in
    mkOption (
      {
        type = if given != null || default == null then types.nullOr kind.type else kind.type;
        inherit default;
        inherit (kind) example;
        description =
          sentence setting.purpose
          + lib.optionalString (
            given == null && setting ? default-text
          ) "\n\nWhen null: ${setting.default-text}.";
      }
      // lib.optionalAttrs (given != null) { defaultText = given.text; }
    );

  secret =
    secret: secretsDir:
    mkOption {
      type = types.nullOr secretPath;
      default =
        if secretsDir == null || secret.optional or false then null else "${secretsDir}/${secret.name}";
      defaultText = lib.literalMD (
        if secret.optional or false then "`null`" else "`${secret.name}` in `secretsDir`, if that is set"
      );
      example = "/run/secrets/${secret.name}";
      description =
        "File with this secret: ${secret.purpose}."
        + lib.optionalString (secret.make ? fixed) "\n\nWithout the file it is `${secret.make.fixed}`.";
    };

  directory =
    volume: settings:
    mkOption {
      # What is only read may come with the configuration, as DAG files do.
      type = types.nullOr (if volume.read-only or false then absolute else secretPath);
      default = null;
      example = "/srv/${lib.toLower (lib.replaceStrings [ "_" ] [ "-" ] volume.setting)}";
      description = sentence settings.${volume.setting}.purpose + "\n\nWhat is in it: ${volume.purpose}.";
    };
}
