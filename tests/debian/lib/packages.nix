# What concerns packages: their programs, outputs, sources and the words of `meta`.
{ lib }:
rec {
  getOutput =
    output: pkg: if pkg.outputSpecified or false then pkg else pkg.${output} or pkg.out or pkg;
  getBin = getOutput "bin";
  getLib = getOutput "lib";
  getDev = getOutput "dev";
  getExe' =
    pkg: name:
    if builtins.isString name && !lib.hasInfix "/" name then
      "${getBin pkg}/bin/${name}"
    else
      throw "lib.getExe': '${toString name}' is not the name of a program";
  getExe =
    pkg:
    getExe' pkg (
      pkg.meta.mainProgram
        or (throw "lib.getExe: ${pkg.name or "the package"} does not say which program it is for (meta.mainProgram)")
    );
  makeSearchPath =
    sub: pkgs:
    builtins.concatStringsSep ":" (map (pkg: "${pkg}/${sub}") (builtins.filter (p: p != null) pkgs));
  makeSearchPathOutput =
    output: sub: pkgs:
    makeSearchPath sub (map (getOutput output) pkgs);
  makeBinPath = makeSearchPathOutput "bin" "bin";
  makeLibraryPath = makeSearchPathOutput "lib" "lib";

  # An option that holds a package of the package set, found by name or by path of names.
  mkPackageOption =
    pkgs: name:
    {
      nullable ? false,
      default ? name,
      example ? null,
      extraDescription ? "",
      pkgsText ? "pkgs",
    }:
    let
      path = if builtins.isString default then [ default ] else default;
      text = "${pkgsText}.${builtins.concatStringsSep "." path}";
      shownName = if builtins.isList name then lib.last name else name;
    in
    lib.mkOption (
      {
        description =
          "The ${shownName} package to use."
          + lib.optionalString (extraDescription != "") " ${extraDescription}";
        type = if nullable then lib.types.nullOr lib.types.package else lib.types.package;
      }
      // (
        if default == null then
          { default = null; }
        else
          {
            default = lib.attrByPath path (throw "${text} is missing from the package set") pkgs;
            defaultText = lib.literalExpression text;
          }
      )
      // lib.optionalAttrs (example != null) {
        example = lib.literalExpression (
          if builtins.isList example then "${pkgsText}.${builtins.concatStringsSep "." example}" else example
        );
      }
    );

  cleanSource =
    root:
    builtins.path {
      path = root;
      name = "source";
      filter =
        path: _:
        !builtins.elem (baseNameOf path) [
          ".git"
          "result"
          "target"
        ];
    };
  cleanSourceWith =
    {
      src,
      filter,
      name ? "source",
    }:
    builtins.path {
      path = src;
      inherit filter name;
    };

  licenses = {
    asl20 = {
      fullName = "Apache License 2.0";
      shortName = "asl20";
      spdxId = "Apache-2.0";
      url = "https://spdx.org/licenses/Apache-2.0.html";
      free = true;
    };
    mpl20 = {
      fullName = "Mozilla Public License 2.0";
      shortName = "mpl20";
      spdxId = "MPL-2.0";
      url = "https://spdx.org/licenses/MPL-2.0.html";
      free = true;
    };
  };
  platforms = rec {
    linux = [
      "x86_64-linux"
      "aarch64-linux"
    ];
    unix = linux;
    all = linux;
  };
  sourceTypes = {
    fromSource.isSource = true;
    binaryNativeCode.isSource = false;
  };
  maintainers = { };
}
