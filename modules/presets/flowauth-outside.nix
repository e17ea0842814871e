# FlowAuth alone on a host outside the firewall: it connects to no other role, and has no secret of theirs.
import ../lib/scenario.nix "flowauth" [ ]
