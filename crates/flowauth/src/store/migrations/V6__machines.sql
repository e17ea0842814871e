-- A machine never signs in: administrators make its keys, and its roles say what those may ask for.
ALTER TABLE users ADD COLUMN is_machine BIGINT NOT NULL DEFAULT 0;
-- What a key may: 'tokens' of its user alone; 'read' what administrators see; 'administer'.
ALTER TABLE keys ADD COLUMN may TEXT NOT NULL DEFAULT 'tokens';
UPDATE keys SET may = 'administer' WHERE administers = 1;
ALTER TABLE keys DROP COLUMN administers;
