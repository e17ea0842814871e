-- Links by which somebody chooses a password, one a user. The digest of a link with 256 bits by chance tells nobody the link.
CREATE TABLE invitations (
    user_id BIGINT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    digest TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
