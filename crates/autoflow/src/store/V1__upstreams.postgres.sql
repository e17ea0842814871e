-- Upstream's table, as its programs make and read it: append-only, the latest row of a workflow and hash counts.
DO $$ BEGIN
    CREATE TYPE runstate AS ENUM ('running', 'success', 'failed');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

CREATE TABLE IF NOT EXISTS workflow_runs (
    id SERIAL PRIMARY KEY,
    workflow_name VARCHAR,
    parameters_hash VARCHAR,
    state runstate,
    timestamp TIMESTAMP WITH TIME ZONE
);

