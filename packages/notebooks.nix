# What runs analysts' notebooks and makes reports of them: a Python interpreter that has it, with the libraries and fonts of the reports.
{
  lib,
  callPackage,
  writeText,
  dejavu_fonts,
  fontconfig,
  glib,
  harfbuzz,
  pango,
}:
let
  # What WeasyPrint loads, by the name under which it asks for it first.
  libraries = {
    "libgobject-2.0-0" = "${lib.getLib glib}/lib/libgobject-2.0.so.0";
    "libpango-1.0-0" = "${lib.getLib pango}/lib/libpango-1.0.so.0";
    "libpangoft2-1.0-0" = "${lib.getLib pango}/lib/libpangoft2-1.0.so.0";
    "libharfbuzz-0" = "${lib.getLib harfbuzz}/lib/libharfbuzz.so.0";
    "libharfbuzz-subset-0" = "${lib.getLib harfbuzz}/lib/libharfbuzz-subset.so.0";
    "libfontconfig-1" = "${lib.getLib fontconfig}/lib/libfontconfig.so.1";
  };

  # The same fonts wherever a report is made. The cache is the caller's own, as XDG_CACHE_HOME says.
  fonts = writeText "fonts.conf" ''
    <?xml version="1.0"?>
    <!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
    <fontconfig>
      <dir>${dejavu_fonts}/share/fonts</dir>
      <cachedir prefix="xdg">fontconfig</cachedir>
      <alias binding="same"><family>sans-serif</family><prefer><family>DejaVu Sans</family></prefer></alias>
      <alias binding="same"><family>serif</family><prefer><family>DejaVu Serif</family></prefer></alias>
      <alias binding="same"><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
    </fontconfig>
  '';

  # Kernels and templates, which Jupyter looks for below the environment.
  keep = ''cp -r "$site"/*.data/data/share "$out"'';
in
callPackage ./python.nix {
  name = "notebooks";
  namedAfter = "papermill";
  description = "Python that runs analysts' notebooks and makes reports of them";
  license = [
    lib.licenses.mpl20
    lib.licenses.bsd3
  ];
  ownModules = [
    "flowkit_notebooks"
    "scrapbook"
  ];
  mended = {
    ipykernel = keep;
    nbconvert = keep;
    weasyprint = ''
      file=$site/weasyprint/text/ffi.py
      for library in ${
        lib.concatStringsSep " " (lib.mapAttrsToList (name: path: "${name}=${path}") libraries)
      }; do
        name=''${library%%=*} path=''${library#*=}
        test -e "$path"
        grep -q "'$name'" "$file"
        sed -i "s|'$name'|'$path'|" "$file"
      done
      sed -i "s|^import os$|&\nos.environ.setdefault('FONTCONFIG_FILE', '${fonts}')|" "$file"
      grep -q FONTCONFIG_FILE "$file"
    '';
  };
  # What loads libraries, and what is loaded late.
  imports = [
    "weasyprint"
    "papermill"
    "nbconvert"
    "ipykernel"
    "geopandas"
    "pyogrio"
    "matplotlib.pyplot"
    "flowclient"
  ];
}
