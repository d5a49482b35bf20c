-- The schema of the first release: users, apps, scripts, routes, the published version, and the execution log.
-- Words in double braces are written as each database needs them (manager/src/store/migration.rs).

-- file: main

CREATE TABLE users (
    id {{uuid}} NOT NULL PRIMARY KEY,
    username TEXT {{bytewise}} NOT NULL UNIQUE,
    email TEXT,
    password_hash TEXT NOT NULL,
    instance_role TEXT NOT NULL CHECK (instance_role IN ('owner', 'admin', 'member')),
    is_active {{bool}} NOT NULL,
    created_at {{int}} NOT NULL,
    updated_at {{int}} NOT NULL,
    last_login_at {{int}}
) {{strict}};

CREATE TABLE sessions (
    id {{uuid}} NOT NULL PRIMARY KEY,
    token_hash {{bytes}} NOT NULL UNIQUE,
    user_id {{uuid}} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at {{int}} NOT NULL,
    expires_at {{int}} NOT NULL,
    absolute_expires_at {{int}} NOT NULL,
    last_seen_at {{int}} NOT NULL,
    remote_ip TEXT,
    user_agent TEXT
) {{strict}};
CREATE INDEX sessions_user_id_idx ON sessions (user_id);
CREATE INDEX sessions_expires_at_idx ON sessions (expires_at);

CREATE TABLE setup_tokens (
    token_hash {{bytes}} NOT NULL PRIMARY KEY,
    created_at {{int}} NOT NULL
) {{strict}};

CREATE TABLE apps (
    id {{uuid}} NOT NULL PRIMARY KEY,
    slug TEXT {{bytewise}} NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_at {{int}} NOT NULL,
    updated_at {{int}} NOT NULL
) {{strict}};

CREATE TABLE slug_history (
    slug TEXT {{bytewise}} NOT NULL,
    app_id {{uuid}} NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    CONSTRAINT slug_history_slug_key PRIMARY KEY (slug)
) {{strict}};
CREATE INDEX slug_history_app_id_idx ON slug_history (app_id);

CREATE TABLE app_members (
    app_id {{uuid}} NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    user_id {{uuid}} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('app_admin', 'editor', 'viewer')),
    joined_at {{int}} NOT NULL,
    CONSTRAINT app_members_app_id_user_id_key PRIMARY KEY (app_id, user_id)
) {{strict}};
CREATE INDEX app_members_user_id_idx ON app_members (user_id);

CREATE TABLE domains (
    id {{uuid}} NOT NULL PRIMARY KEY,
    app_id {{uuid}} NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    pattern TEXT NOT NULL,
    shape_key TEXT {{bytewise}} NOT NULL UNIQUE,
    -- The name one label up, which tells the exact claims that a wildcard overlaps.
    parent TEXT {{bytewise}},
    created_at {{int}} NOT NULL
) {{strict}};
CREATE INDEX domains_app_id_idx ON domains (app_id);
CREATE INDEX domains_parent_idx ON domains (parent);

CREATE TABLE scripts (
    id {{uuid}} NOT NULL PRIMARY KEY,
    app_id {{uuid}} NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    name TEXT {{bytewise}} NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('endpoint', 'module')),
    description TEXT NOT NULL,
    version {{int}} NOT NULL CHECK (version > 0),
    source TEXT NOT NULL,
    imports {{json}} NOT NULL,
    timeout_ms {{int}},
    sandbox {{json}} NOT NULL,
    execute_access TEXT NOT NULL CHECK (execute_access IN ('open', 'restricted')),
    created_at {{int}} NOT NULL,
    updated_at {{int}} NOT NULL,
    UNIQUE (app_id, name),
    -- What the routes refer to, so that a route cannot lead into another app.
    UNIQUE (app_id, id)
) {{strict}};

CREATE TABLE script_versions (
    script_id {{uuid}} NOT NULL REFERENCES scripts (id) ON DELETE CASCADE,
    version {{int}} NOT NULL,
    source TEXT NOT NULL,
    created_at {{int}} NOT NULL,
    created_by {{uuid}} REFERENCES users (id) ON DELETE SET NULL,
    PRIMARY KEY (script_id, version)
) {{strict}};
CREATE INDEX script_versions_created_by_idx ON script_versions (created_by);

CREATE TABLE routes (
    id {{uuid}} NOT NULL PRIMARY KEY,
    app_id {{uuid}} NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    script_id {{uuid}} NOT NULL,
    host_kind TEXT NOT NULL CHECK (host_kind IN ('any', 'strict', 'wildcard')),
    host TEXT,
    host_key TEXT {{bytewise}} NOT NULL,
    path_kind TEXT NOT NULL CHECK (path_kind IN ('exact', 'param', 'prefix')),
    path TEXT NOT NULL,
    -- The SHA-256 of the path's shape: a shape may be longer than an index of PostgreSQL can hold.
    path_shape {{bytes}} NOT NULL,
    method TEXT NOT NULL,
    created_at {{int}} NOT NULL,
    UNIQUE (app_id, host_key, path_shape, method),
    FOREIGN KEY (app_id, script_id) REFERENCES scripts (app_id, id) ON DELETE CASCADE
) {{strict}};
CREATE INDEX routes_script_id_idx ON routes (script_id);
-- The referring side of the composite key, for deleting scripts.
CREATE INDEX routes_app_id_script_id_idx ON routes (app_id, script_id);

CREATE TABLE audit_log (
    id {{uuid}} NOT NULL PRIMARY KEY,
    at {{int}} NOT NULL,
    user_id {{uuid}},
    action TEXT NOT NULL,
    object_kind TEXT NOT NULL,
    object_id {{uuid}},
    app_id {{uuid}},
    remote_ip TEXT,
    before {{json}},
    after {{json}}
) {{strict}};
CREATE INDEX audit_log_app_id_idx ON audit_log (app_id, id);
CREATE INDEX audit_log_user_id_idx ON audit_log (user_id, id);

CREATE TABLE config_version (
    id {{int}} NOT NULL PRIMARY KEY CHECK (id = 1),
    version {{int}} NOT NULL
) {{strict}};
INSERT INTO config_version (id, version) VALUES (1, 0);

CREATE TABLE config_changes (
    version {{int}} NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    id {{uuid}} NOT NULL
) {{strict}};

CREATE TABLE instance (
    key TEXT {{bytewise}} NOT NULL PRIMARY KEY,
    value {{json}} NOT NULL
) {{strict}};

-- file: logs

CREATE TABLE executions (
    id {{uuid}} NOT NULL PRIMARY KEY,
    app_id {{uuid}} NOT NULL,
    script_id {{uuid}} NOT NULL,
    version {{int}} NOT NULL,
    origin TEXT NOT NULL,
    route_id {{uuid}},
    started_at {{int}} NOT NULL,
    duration_us {{int}} NOT NULL,
    outcome TEXT NOT NULL,
    status {{int}} NOT NULL,
    sample_weight {{int}} NOT NULL,
    request {{json}} NOT NULL,
    response {{json}},
    error {{json}},
    logs {{json}} NOT NULL
) {{strict}};
CREATE INDEX executions_script_id_idx ON executions (script_id, started_at DESC, id DESC);
CREATE INDEX executions_app_id_idx ON executions (app_id, started_at DESC, id DESC);

CREATE TABLE execution_counters (
    app_id {{uuid}} NOT NULL,
    script_id {{uuid}} NOT NULL,
    minute {{int}} NOT NULL,
    outcome TEXT NOT NULL,
    count {{int}} NOT NULL,
    duration_us_sum {{int}} NOT NULL,
    PRIMARY KEY (app_id, script_id, minute, outcome)
) {{strict}};
CREATE INDEX execution_counters_minute_idx ON execution_counters (minute);
