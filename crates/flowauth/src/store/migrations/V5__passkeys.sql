-- Passkeys: ids and public keys as browsers bring them, in base64. Nothing of it is secret.
CREATE TABLE passkeys (
    id {id},
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    credential TEXT NOT NULL UNIQUE,
    public_key TEXT NOT NULL,
    -- The name of the site under which it was made.
    site TEXT NOT NULL,
    name TEXT NOT NULL,
    transports TEXT NOT NULL,
    counter BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX passkeys_user ON passkeys (user_id);

-- What the browser of a session was asked and has not answered yet.
CREATE TABLE challenges (
    session_id TEXT PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    challenge TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
