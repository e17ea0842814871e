# Tables of FlowDB that are files elsewhere: what nixpkgs 26.05 has no package of.
{
  lib,
  fetchFromGitHub,
  gdalMinimal,
  postgresql,
  postgresqlBuildExtension,
}:
postgresqlBuildExtension (self: {
  pname = "ogr_fdw";
  version = "1.1.8";

  src = fetchFromGitHub {
    owner = "pramsey";
    repo = "pgsql-ogr-fdw";
    tag = "v${self.version}";
    hash = "sha256-9U7pNOffUQUvPpxG2DsWDXKcq7Y0LRsvnJ0fShF5OrI=";
  };

  # GDAL as PostGIS has it: the other one is a second library of the same name in one server. It tells its place itself.
  nativeBuildInputs = [ gdalMinimal ];
  buildInputs = [ gdalMinimal ];

  # Else its program becomes a file called `bin`.
  preInstall = ''
    mkdir -p "$out${postgresql}/bin"
  '';

  meta = {
    description = "Foreign data wrapper of PostgreSQL for what GDAL reads";
    homepage = "https://github.com/pramsey/pgsql-ogr-fdw";
    license = lib.licenses.mit;
    platforms = postgresql.meta.platforms;
  };
})
