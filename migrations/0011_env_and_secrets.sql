-- What people set for an app's scripts to read by name: plain settings, and secrets.

-- file: main

CREATE TABLE app_env (
    app_id {{uuid}} NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    name TEXT {{bytewise}} NOT NULL,
    value TEXT NOT NULL,
    updated_at {{int}} NOT NULL,
    PRIMARY KEY (app_id, name)
) {{strict}};

CREATE TABLE app_secrets (
    app_id {{uuid}} NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    name TEXT {{bytewise}} NOT NULL,
    -- Drawn at each setting, so that whoever has a secret open knows whether it is still the same, and nobody can tell a guess by it.
    revision {{int}} NOT NULL,
    created_at {{int}} NOT NULL,
    updated_at {{int}} NOT NULL,
    -- Bound to the app and the name (manager/src/app_secrets.rs).
    sealed {{bytes}} NOT NULL,
    PRIMARY KEY (app_id, name)
) {{strict}};
