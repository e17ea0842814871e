-- Mobile money. A transaction has one row of metadata for each of its two parties.
CREATE SCHEMA dfs;

CREATE TABLE dfs.transaction_types (
    id serial PRIMARY KEY,
    descr text,
    user_type_a_party text,
    user_type_b_party text
);

CREATE TABLE dfs.transactions (
    id bigserial PRIMARY KEY,
    amount numeric(14, 4),
    discount numeric(14, 4),
    fee numeric(14, 4),
    commission numeric(14, 4),
    transtype_id integer REFERENCES dfs.transaction_types,
    "timestamp" timestamptz
);

CREATE TABLE dfs.subscribers (
    id bigserial PRIMARY KEY,
    msisdn text COLLATE "C"
);

CREATE TABLE dfs.transactions_metadata (
    transaction_id bigint REFERENCES dfs.transactions,
    subscriber_id bigint REFERENCES dfs.subscribers,
    cell_id text NOT NULL,
    cell_version integer NOT NULL,
    is_outgoing boolean,
    FOREIGN KEY (cell_id, cell_version) REFERENCES infrastructure.cells (id, version)
);
CREATE INDEX transactions_metadata_transaction_index ON dfs.transactions_metadata (transaction_id);
CREATE INDEX transactions_metadata_cell_index ON dfs.transactions_metadata (cell_id, cell_version);
