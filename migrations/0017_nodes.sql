-- Who serves from this store, and failures to sign in that all of them count.

-- file: main

-- On SQLite there is one, which is noted when it starts.
CREATE TABLE nodes (
    id {{uuid}} NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('full', 'edge')),
    product TEXT NOT NULL,
    wire {{int}} NOT NULL,
    -- The newest migration that it knows.
    schema_version {{int}} NOT NULL,
    -- Where a full node answers edge nodes: host and port.
    address TEXT,
    -- The version of the configuration that it serves.
    snapshot_version {{int}} NOT NULL,
    -- By its own clock.
    started_at {{int}} NOT NULL,
    last_seen_at {{int}} NOT NULL,
    -- Until when it counts as live if it says no more, by the database's clock on PostgreSQL.
    live_until {{int}} NOT NULL
) {{strict}};

-- Of PostgreSQL only: where there is one node, it has them in memory.
CREATE TABLE login_failures (
    -- An address, or an address and a user's name.
    subject TEXT {{bytewise}} NOT NULL PRIMARY KEY,
    failures {{int}} NOT NULL,
    -- By the database's clock.
    last_at {{int}} NOT NULL
) {{strict}};
CREATE INDEX login_failures_last_at_idx ON login_failures (last_at);
