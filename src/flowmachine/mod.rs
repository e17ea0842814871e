//! Talking to the FlowMachine server, healing it and mending what it left behind.
