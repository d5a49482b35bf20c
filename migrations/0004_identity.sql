-- API keys, what was done by them, and the chain of the audit log.

-- file: main

CREATE TABLE api_keys (
    id {{uuid}} NOT NULL PRIMARY KEY,
    key_hash {{bytes}} NOT NULL UNIQUE,
    user_id {{uuid}} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    scopes {{json}} NOT NULL,
    app_id {{uuid}} REFERENCES apps (id) ON DELETE CASCADE,
    created_at {{int}} NOT NULL,
    expires_at {{int}},
    last_used_at {{int}}
) {{strict}};
CREATE INDEX api_keys_user_id_idx ON api_keys (user_id, id);
CREATE INDEX api_keys_app_id_idx ON api_keys (app_id);

-- The name that the user had then: the user may go, the row stays.
ALTER TABLE audit_log ADD COLUMN username TEXT;
-- By which of the user's keys it was done.
ALTER TABLE audit_log ADD COLUMN key_id {{uuid}};
-- The place in the chain, without gaps, and the seal over this row and the one before (manager/src/audit_chain.rs).
ALTER TABLE audit_log ADD COLUMN seq {{int}};
ALTER TABLE audit_log ADD COLUMN seal {{bytes}};
CREATE UNIQUE INDEX audit_log_seq_key ON audit_log (seq);

-- The end of the chain, sealed as well, so that rows cannot be cut off it unseen.
CREATE TABLE audit_head (
    id {{int}} NOT NULL PRIMARY KEY CHECK (id = 1),
    seq {{int}} NOT NULL,
    seal {{bytes}} NOT NULL,
    head_seal {{bytes}} NOT NULL
) {{strict}};
