# The option reference, in Markdown, out of the modules themselves.
{ lib }:
let
  catalogue = import ./catalogue.nix;
  roles = lib.attrNames catalogue.roles;
  root = [
    "services"
    "flowkit"
  ];

  # Only declarations are looked at: what the modules define needs the rest of NixOS.
  evaluated = lib.evalModules {
    class = "nixos";
    modules = [
      ../.
      { _module.check = false; }
    ];
  };
  options = lib.filter (option: option.visible && !option.internal && lib.take 2 option.loc == root) (
    lib.optionAttrSetToDocList { inherit (evaluated.options) services; }
  );

  # In the order in which one thinks of them, those of one name by the alphabet.
  order = [
    "enable"
    "package"
    "packages"
    "settings"
    "checkSettings"
    "makeSecrets"
    "secretsDir"
    "secrets"
    "directories"
    "allowedAddresses"
    "openFirewall"
  ];
  under =
    depth: name:
    lib.filter (option: builtins.length option.loc > depth && builtins.elemAt option.loc depth == name);
  ordered = depth: options: lib.concatMap (name: under depth name options) order;

  code =
    text: if builtins.match ".*\n.*" text != null then "\n\n```nix\n${text}\n```" else " `${text}`";
  literal = value: if value._type or null == "literalMD" then " ${value.text}" else code value.text;
  entry =
    option:
    lib.concatStringsSep "\n" (
      [
        "### ${option.name}"
        ""
        (lib.removeSuffix "\n" option.description)
        ""
        "- Type: ${option.type}"
      ]
      ++ lib.optional (option ? default) "- Default:${literal option.default}"
      ++ lib.optional (option ? example) "- Example:${literal option.example}"
      ++ [ "" ]
    );
  section = title: options: lib.concatStringsSep "\n" ([ "## ${title}\n" ] ++ map entry options);

  shared = lib.filter (option: !lib.elem (builtins.elemAt option.loc 2) roles) options;
in
{
  # What the reference has no words for.
  undocumented = map (option: option.name) (
    lib.filter (
      option: option.description or null == null || !(option ? default) || !(option ? example)
    ) options
  );

  text = lib.concatStringsSep "\n" (
    [
      "<!-- Written by `make docs-options` from modules/ and src/roles/*.toml: change those. -->"
      "# NixOS options"
      ""
      "Every option of the modules in `modules/`. [NixOS](../nixos.md) shows how they are used; what the settings and"
      "secrets of a role are for is also in [settings](settings.md) and [secrets](secrets.md)."
      ""
      (section "All roles" (ordered 2 shared))
    ]
    ++ map (role: section (catalogue.title role) (ordered 3 (under 2 role options))) roles
  );
}
