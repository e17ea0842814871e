# What this host runs of FlowKit: every role, with secrets that it makes itself, for programs on this host alone.
{
  services.flowkit.flowdb.settings = {
    # What FlowDB may use of the machine; it takes what is there unless it is told.
    # FLOWDB_TOTAL_MEMORY = "16GB";
    # Analysts' machines reach it when it listens to them.
    # FLOWKIT_FLOWDB_LISTEN = "10.0.0.5";
  };
}
