# Complete FlowKit but for FlowETL, which takes more memory than the others together and is of no use without files to load, and AutoFlow, which
# needs workflows; `services.flowkit.flowetl.enable = true` adds one.
import ../lib/scenario.nix "complete" [ "flowetl" ]
