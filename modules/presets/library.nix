# FlowDB and redis for analysts who use FlowMachine as a library, and FlowETL.
import ../lib/scenario.nix "library" [ ]
