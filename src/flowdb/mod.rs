//! FlowDB: the cluster, its schema, its users and the demo data.
