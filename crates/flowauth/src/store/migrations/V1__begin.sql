-- One text for SQLite and PostgreSQL: {id} is the only word that differs. Times are seconds since 1970, UTC; truth is 0 or 1, for
-- the common driver knows whole numbers and texts alone. Days are ISO dates.

CREATE TABLE users (
    id {id},
    name TEXT NOT NULL UNIQUE,
    -- A PHC string of Argon2; NULL: nobody signs in by password.
    password TEXT,
    is_admin BIGINT NOT NULL DEFAULT 0,
    needs_factor BIGINT NOT NULL DEFAULT 0,
    disabled_at BIGINT,
    created_at BIGINT NOT NULL
);

-- A second factor that is in use. Secrets and codes are sealed by FLOWAUTH_FERNET_KEY.
CREATE TABLE factors (
    user_id BIGINT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    secret TEXT NOT NULL,
    -- The time step of the code that was taken last: only later ones are.
    last_step BIGINT NOT NULL DEFAULT 0,
    enabled_at BIGINT NOT NULL
);

CREATE TABLE backup_codes (
    id {id},
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    code TEXT NOT NULL
);
CREATE INDEX backup_codes_user ON backup_codes (user_id);

-- What was shown to a user and not confirmed yet: a secret with codes, or codes alone.
CREATE TABLE pending_factors (
    user_id BIGINT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    reference TEXT NOT NULL,
    secret TEXT,
    codes TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE servers (
    id {id},
    name TEXT NOT NULL UNIQUE,
    latest_expiry BIGINT,
    longest_minutes BIGINT NOT NULL
);

-- A scope that the server has no longer, but a role has, is withdrawn: it stays in the role, and in no new token.
CREATE TABLE scopes (
    id {id},
    server_id BIGINT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    withdrawn_at BIGINT,
    UNIQUE (server_id, name)
);

CREATE TABLE roles (
    id {id},
    server_id BIGINT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    latest_expiry BIGINT,
    longest_minutes BIGINT NOT NULL,
    first_day TEXT,
    last_day TEXT,
    UNIQUE (server_id, name)
);

CREATE TABLE role_scopes (
    role_id BIGINT NOT NULL REFERENCES roles (id) ON DELETE CASCADE,
    scope_id BIGINT NOT NULL REFERENCES scopes (id) ON DELETE CASCADE,
    PRIMARY KEY (role_id, scope_id)
);
CREATE INDEX role_scopes_scope ON role_scopes (scope_id);

CREATE TABLE role_members (
    role_id BIGINT NOT NULL REFERENCES roles (id) ON DELETE CASCADE,
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (role_id, user_id)
);
CREATE INDEX role_members_user ON role_members (user_id);

-- Tokens outlive their user and their server here as they do in the world, so that they stay on the list of revoked ones.
CREATE TABLE tokens (
    id {id},
    name TEXT NOT NULL,
    jti TEXT NOT NULL UNIQUE,
    -- The token itself, sealed by FLOWAUTH_FERNET_KEY.
    sealed TEXT NOT NULL,
    user_id BIGINT REFERENCES users (id) ON DELETE SET NULL,
    user_name TEXT NOT NULL,
    server_id BIGINT REFERENCES servers (id) ON DELETE SET NULL,
    server_name TEXT NOT NULL,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX tokens_user ON tokens (user_id, server_id);
CREATE INDEX tokens_revoked ON tokens (revoked_at);

CREATE TABLE token_roles (
    token_id BIGINT NOT NULL REFERENCES tokens (id) ON DELETE CASCADE,
    role_id BIGINT REFERENCES roles (id) ON DELETE SET NULL,
    role_name TEXT NOT NULL,
    -- The scopes that were chosen, one a line; NULL: all that the role had.
    chosen TEXT,
    PRIMARY KEY (token_id, role_name)
);

-- The id is a digest of the cookie: whoever reads the database can't be anybody.
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    address TEXT NOT NULL,
    -- 0: the password was right, and a code is awaited.
    complete BIGINT NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);

-- Failures by whom or from where, and until when nothing more is taken.
CREATE TABLE attempts (
    who TEXT PRIMARY KEY,
    failures BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    until BIGINT NOT NULL
);

CREATE TABLE audit (
    id {id},
    at BIGINT NOT NULL,
    actor_id BIGINT,
    actor TEXT,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    detail TEXT NOT NULL,
    address TEXT NOT NULL,
    request TEXT NOT NULL
);

-- Public halves of all keys that have signed: a token is checked with its key until it ends.
CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY,
    public_pem TEXT NOT NULL,
    first_at BIGINT NOT NULL,
    retired_at BIGINT
);

CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
