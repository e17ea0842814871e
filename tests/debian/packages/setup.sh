# What a derivation of builders.nix runs: the phases, as nixpkgs' stdenv names and orders them, and no more of them than
# we use. Programs are the machine's own; without asking, those that nixpkgs' stdenv has are found (scripts/nix.sh).
set -eo pipefail # not -u: neither has it in nixpkgs
shopt -s inherit_errexit
umask 022

# With structured attributes, attributes are variables and arrays; without, they are in the environment.
if [ -n "${NIX_ATTRS_SH_FILE:-}" ]; then
    # shellcheck disable=SC1090
    . "$NIX_ATTRS_SH_FILE"
    for output in "${!outputs[@]}"; do declare -x "$output=${outputs[$output]}"; done
fi
export PATH=/usr/lib/stdenv HOME=/homeless-shelter LANG=C.UTF-8 TZ=UTC SOURCE_DATE_EPOCH=315532800
export PYTHONDONTWRITEBYTECODE=1

# An attribute that is a list, one word a line, in either form.
listed() {
    if [[ $(declare -p "$1" 2>/dev/null) == "declare -a"* ]]; then
        local -n words=$1
        [ ${#words[@]} = 0 ] || printf '%s\n' "${words[@]}"
    else
        # shellcheck disable=SC2086
        [ -z "${!1-}" ] || printf '%s\n' ${!1}
    fi
}

runHook() {
    local hook=$1 function
    [ -z "${!hook-}" ] || eval "${!hook}"
    for function in $(listed "${hook}Hooks"); do "$function"; done
}

# Runs a phase: the derivation's own text, else the function below.
runPhase() {
    local phase=$1
    if [ -n "${!phase-}" ]; then eval "${!phase}"; else "$phase"; fi
}

unpackPhase() {
    runHook preUnpack
    local file files
    mapfile -t files < <(listed srcs)
    [ ${#files[@]} != 0 ] || files=("$src")
    for file in "${files[@]}"; do
        if [ -d "$file" ]; then
            local name=${file##*/}
            cp -r --no-preserve=mode,timestamps "$file" "${name#*-}"
        else
            case $file in
                *.zip | *.whl) unzip -q "$file" ;;
                *.tar | *.tar.* | *.tgz) tar -xf "$file" ;;
                *) echo "setup.sh: can't unpack $file" >&2; return 1 ;;
            esac
        fi
    done
    if [ -z "${sourceRoot:-}" ]; then
        local folders=(*/)
        [ ${#folders[@]} = 1 ] || { echo "setup.sh: sourceRoot is to be given: $src has ${#folders[@]} folders" >&2; return 1; }
        sourceRoot=${folders[0]}
    fi
    cd "$sourceRoot"
    runHook postUnpack
}

patchPhase() {
    runHook prePatch
    local file
    for file in $(listed patches); do patch -p1 <"$file"; done
    runHook postPatch
}

configurePhase() { runHook preConfigure; runHook postConfigure; }
buildPhase() { runHook preBuild; runHook postBuild; }
checkPhase() { runHook preCheck; runHook postCheck; }
installPhase() { runHook preInstall; runHook postInstall; }
fixupPhase() { runHook preFixup; runHook postFixup; }
installCheckPhase() { runHook preInstallCheck; runHook postInstallCheck; }

# Programs of other derivations are found, and their hooks read.
for input in $(listed nativeBuildInputs); do
    PATH=$input/bin:$PATH
    # shellcheck disable=SC1091
    [ ! -e "$input/nix-support/setup-hook" ] || . "$input/nix-support/setup-hook"
done

if [ -n "${buildCommand:-}" ]; then
    eval "$buildCommand"
else
    [ -n "${dontUnpack:-}" ] || runPhase unpackPhase
    runPhase patchPhase
    runPhase configurePhase
    [ -n "${dontBuild:-}" ] || runPhase buildPhase
    [ -z "${doCheck:-}" ] || runPhase checkPhase
    [ -n "${dontInstall:-}" ] || runPhase installPhase
    [ -n "${dontFixup:-}" ] || runPhase fixupPhase
    [ -z "${doInstallCheck:-}" ] || runPhase installCheckPhase
fi

# Nix kills a builder whose output is closed, as many programs do just before they end: they must not be the last.
exit 0
