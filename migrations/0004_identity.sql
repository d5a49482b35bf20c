-- API keys, and what was done by them.

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

-- By which of the user's keys something was done.
ALTER TABLE audit_log ADD COLUMN key_id {{uuid}};
