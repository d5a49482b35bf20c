-- What scripts keep by `kv`, how much of it there is, and changes of it that the audit log is still to be told of.

-- file: data

CREATE TABLE kv_entries (
    app_id {{uuid}} NOT NULL,
    collection TEXT {{bytewise}} NOT NULL,
    key TEXT {{bytewise}} NOT NULL,
    -- Whether the value is the text of a JSON value, or bytes as they are.
    kind TEXT NOT NULL CHECK (kind IN ('json', 'blob')),
    -- From then on it is not to be seen, and is to be removed.
    expires_at {{int}},
    updated_at {{int}} NOT NULL,
    -- The last, so that SQLite reads none of a long one to look at what stands beside it.
    value {{bytes}} NOT NULL,
    CONSTRAINT kv_entries_app_id_collection_key_key PRIMARY KEY (app_id, collection, key)
) {{strict}};
-- For the sweeper, which asks for the oldest of all, and for a write that makes room among its app's own.
CREATE INDEX kv_entries_expires_at_app_id_idx ON kv_entries (expires_at, app_id) WHERE expires_at IS NOT NULL;
CREATE INDEX kv_entries_app_id_expires_at_idx ON kv_entries (app_id, expires_at) WHERE expires_at IS NOT NULL;

-- What an app's entries and those of a collection come to, kept up to date by each write. Whoever writes entries of an app
-- has the row of the app before, so that writes of one app follow one another on PostgreSQL as well.
CREATE TABLE kv_apps (
    app_id {{uuid}} NOT NULL PRIMARY KEY,
    keys {{int}} NOT NULL,
    bytes {{int}} NOT NULL
) {{strict}};

CREATE TABLE kv_collections (
    app_id {{uuid}} NOT NULL,
    collection TEXT {{bytewise}} NOT NULL,
    keys {{int}} NOT NULL,
    bytes {{int}} NOT NULL,
    PRIMARY KEY (app_id, collection)
) {{strict}};

-- Rows of the audit log that were committed with the change that they tell of, and are still to take their place in the chain.
CREATE TABLE data_audit (
    id {{uuid}} NOT NULL PRIMARY KEY,
    entry TEXT NOT NULL,
    seal {{bytes}} NOT NULL
) {{strict}};
