# The closure of some paths as a read-only file system that is mounted at /nix/store; the same bytes for the same closure.
{ pkgs }:
rootPaths:
pkgs.stdenvNoCC.mkDerivation {
  name = "nix-store.img";
  closure = pkgs.closureInfo { inherit rootPaths; };
  # It holds the closure; it does not need it.
  __structuredAttrs = true;
  unsafeDiscardReferences.out = true;
  buildCommand = ''
    tar --create --sort=name --mtime=@1 --owner=0 --group=0 --numeric-owner --transform 's|^nix/store/||rSh' \
      --directory / --files-from <(sed 's|^/||' $closure/store-paths) \
      | /usr/bin/mkfs.erofs --quiet -L nix-store -T 1 -U 8a4d5c86-3b87-4d59-9a60-cc4d7f5d2a11 --tar=f $out >/dev/null
  '';
}
