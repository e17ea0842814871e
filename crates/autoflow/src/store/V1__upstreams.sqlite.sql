-- Upstream's table, as its programs make and read it: append-only, the latest row of a workflow and hash counts.

CREATE TABLE IF NOT EXISTS workflow_runs (
    id INTEGER PRIMARY KEY,
    workflow_name VARCHAR,
    parameters_hash VARCHAR,
    state VARCHAR(7) CHECK (state IN ('running', 'success', 'failed')),
    timestamp DATETIME
);

