CREATE TABLE autoflow_runs (
    workflow_name TEXT NOT NULL,
    parameters_hash TEXT NOT NULL,
    reference_date TEXT NOT NULL,
    parameters TEXT NOT NULL,
    state TEXT NOT NULL,
    run TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    heartbeat BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    next_try BIGINT NOT NULL,
    started BIGINT NOT NULL,
    ended BIGINT NOT NULL,
    error TEXT NOT NULL,
    files TEXT NOT NULL,
    published BIGINT NOT NULL,
    PRIMARY KEY (workflow_name, parameters_hash)
);

CREATE TABLE autoflow_sensor (
    id BIGINT PRIMARY KEY,
    looked BIGINT NOT NULL,
    said TEXT NOT NULL
);
