# The major version is fixed here: a data directory is bound to it.
{ postgresql_17 }:
postgresql_17.withPackages (extensions: [
  extensions.postgis
  extensions.pgrouting
  extensions.tds_fdw
  # Newer sets have it.
  (extensions.ogr_fdw or (extensions.callPackage ./ogr-fdw.nix { }))
])
