-- Answers that are kept know what their call took. Those before do not, and are forgotten.

-- file: main

DROP TABLE idempotency_keys;
CREATE TABLE idempotency_keys (
    -- The SHA-256 of who called what by which key (manager/src/service/idempotency.rs).
    scope {{bytes}} NOT NULL PRIMARY KEY,
    user_id {{uuid}} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- The call's body under HMAC-SHA256, by a key that is not in the store.
    body_mac {{bytes}} NOT NULL,
    -- The capabilities that the call took, each with its app if it is of one: [[app or null, capability], …].
    demands {{json}} NOT NULL,
    status {{int}} NOT NULL,
    etag TEXT,
    body TEXT NOT NULL,
    created_at {{int}} NOT NULL
) {{strict}};
CREATE INDEX idempotency_keys_user_id_idx ON idempotency_keys (user_id);
CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys (created_at);
