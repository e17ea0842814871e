# Python 3.13 as one tree, which Debian spreads over four packages: an interpreter finds its library from where it lies.
{
  lib,
  runCommand,
  debs,
}:
let
  inherit (debs."python3.13-minimal") version;
  pythonVersion = "3.13";
in
runCommand "python3-${version}"
  {
    inherit version;
    passthru = {
      inherit pythonVersion;
      sitePackages = "lib/python${pythonVersion}/site-packages";
    };
    meta.mainProgram = "python${pythonVersion}";
  }
  ''
    mkdir -p "$out/bin" "$out/lib"
    cd "$out"
    cp ${debs."python3.13-minimal"}/bin/python${pythonVersion} bin
    ln -s python${pythonVersion} bin/python3
    ln -s python${pythonVersion} bin/python
    for part in ${debs."libpython3.13-minimal"} ${debs."libpython3.13-stdlib"}; do
      cp -r --no-preserve=mode "$part/lib/python${pythonVersion}" lib
    done
    find lib -xtype l -delete # links into /etc

    sed -i "s|'TZPATH': .*|'TZPATH': '${debs.tzdata}/share/zoneinfo',|" lib/python${pythonVersion}/_sysconfigdata__*.py

    # Debian compiles at installation. By hash of the source: the time of a file means nothing in a store.
    PYTHONHASHSEED=0 bin/python3 -m compileall -q -j0 --invalidation-mode unchecked-hash lib/python${pythonVersion}
  ''
