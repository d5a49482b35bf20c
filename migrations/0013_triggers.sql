-- What runs a script without a request.

-- file: main

CREATE TABLE triggers (
    id {{uuid}} NOT NULL PRIMARY KEY,
    app_id {{uuid}} NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    script_id {{uuid}} NOT NULL,
    source TEXT NOT NULL,
    -- What the source needs to know, as the API takes it.
    config {{json}} NOT NULL,
    -- What no other trigger of the app may be for: 'queue:' and the queue's name, since each message is for one, or 'dead_letter'.
    sole TEXT {{bytewise}},
    enabled {{bool}} NOT NULL,
    max_attempts {{int}} NOT NULL,
    backoff_base_ms {{int}} NOT NULL,
    backoff_cap_ms {{int}} NOT NULL,
    timeout_ms {{int}},
    created_at {{int}} NOT NULL,
    updated_at {{int}} NOT NULL,
    UNIQUE (app_id, sole),
    FOREIGN KEY (app_id, script_id) REFERENCES scripts (app_id, id) ON DELETE CASCADE
) {{strict}};
CREATE INDEX triggers_script_id_idx ON triggers (script_id);
-- The referring side of the composite key, for deleting scripts.
CREATE INDEX triggers_app_id_script_id_idx ON triggers (app_id, script_id);
-- Pages of an app's triggers go by it.
CREATE INDEX triggers_app_id_id_idx ON triggers (app_id, id);
