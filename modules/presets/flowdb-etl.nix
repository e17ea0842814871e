# FlowDB, and FlowETL that fills it.
import ../lib/scenario.nix "flowdb-etl" [ ]
