-- Answers that are given again to a call that is repeated, and charts of one app.

-- file: main

CREATE TABLE idempotency_keys (
    -- The SHA-256 of who called what by which key (manager/src/service/idempotency.rs).
    scope {{bytes}} NOT NULL PRIMARY KEY,
    user_id {{uuid}} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- The SHA-256 of the call's body.
    body_hash {{bytes}} NOT NULL,
    status {{int}} NOT NULL,
    etag TEXT,
    body TEXT NOT NULL,
    created_at {{int}} NOT NULL
) {{strict}};
CREATE INDEX idempotency_keys_user_id_idx ON idempotency_keys (user_id);
CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys (created_at);

-- file: logs

CREATE INDEX execution_counters_app_id_minute_idx ON execution_counters (app_id, minute);
