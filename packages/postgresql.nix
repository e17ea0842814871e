# The major version is fixed here: a data directory is bound to it.
{ postgresql_17 }:
postgresql_17.withPackages (extensions: [
  extensions.postgis
  extensions.pgrouting
  extensions.ogr_fdw
])
