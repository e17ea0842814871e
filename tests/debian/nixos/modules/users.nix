# nixos/modules/config/users-groups.nix
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  flag =
    default: description:
    mkOption {
      type = types.bool;
      inherit default description;
    };
  id = mkOption {
    type = types.nullOr types.int;
    default = null;
    description = "Number; the build gives one when none is set.";
  };
  named = name: {
    name = mkOption {
      type = types.str;
      default = name;
      description = "Name.";
    };
  };
  user =
    { name, ... }:
    {
      options = named name // {
        uid = id;
        isSystemUser = mkOption {
          type = types.bool;
          default = false;
          description = "Whether this is a user of services.";
        };
        isNormalUser = mkOption {
          type = types.bool;
          default = false;
          description = "Whether this is a person.";
        };
        description = mkOption {
          type = types.str;
          default = "";
          description = "Full name.";
        };
        group = mkOption {
          type = types.str;
          default = "";
          description = "Primary group.";
        };
        extraGroups = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = "Further groups.";
        };
        home = mkOption {
          type = types.path;
          default = "/var/empty";
          description = "Home directory.";
        };
        shell = mkOption {
          type = types.nullOr types.path;
          default = null;
          description = "Login shell.";
        };
      };
    };
  group =
    { name, ... }:
    {
      options = named name // {
        gid = id;
        members = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = "Members.";
        };
      };
    };
  cfg = config.users;
in
{
  options.users = {
    users = mkOption {
      type = types.attrsOf (types.submodule user);
      default = { };
      description = "Users.";
    };
    groups = mkOption {
      type = types.attrsOf (types.submodule group);
      default = { };
      description = "Groups.";
    };
    mutableUsers = flag true "Whether users can be made by hand.";
    allowNoPasswordLogin = flag false "Whether a system that nobody can log in to is wanted.";
  };

  config.assertions = [
    {
      # Here nobody has a password.
      assertion = cfg.mutableUsers || cfg.allowNoPasswordLogin;
      message = "Neither the root account nor any wheel user has a password or SSH authorized key. If you really want to be locked out of your system, set users.allowNoPasswordLogin = true.";
    }
  ]
  ++ lib.concatMap (u: [
    {
      assertion = u.isSystemUser != u.isNormalUser;
      message = "Exactly one of users.users.${u.name}.isSystemUser and users.users.${u.name}.isNormalUser must be set.";
    }
    {
      assertion = u.group != "";
      message = "users.users.${u.name}.group is unset.";
    }
    {
      assertion = cfg.groups ? ${u.group};
      message = "users.users.${u.name}.group: there is no users.groups.${u.group}.";
    }
  ]) (lib.attrValues cfg.users);
}
