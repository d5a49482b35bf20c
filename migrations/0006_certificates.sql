-- Certificates: what is served, what is being ordered, and by which accounts.
-- Whatever is called sealed is encrypted with a key from the instance's key file (manager/src/secret/seal.rs).

-- file: main

CREATE TABLE certificates (
    id {{uuid}} NOT NULL PRIMARY KEY,
    source TEXT NOT NULL CHECK (source IN ('automatic', 'internal', 'manual')),
    -- The claim's shape or the admin host that the platform manages it for; an uploaded one has none.
    name TEXT {{bytewise}} UNIQUE,
    names {{json}} NOT NULL,
    -- Whose claim it was when it was first wanted; an admin host is nobody's.
    app_id {{uuid}},
    state TEXT NOT NULL CHECK (state IN ('claimed', 'preflight', 'ordering', 'valid', 'renewing', 'failing')),
    failures {{int}} NOT NULL DEFAULT 0,
    last_error TEXT,
    next_attempt_at {{int}},
    -- When to renew, and what the authority says of it.
    renewal {{json}},
    -- The order under way with its private key, as JSON.
    order_sealed {{bytes}},
    -- What is served: absent until there is one.
    chain TEXT,
    key_sealed {{bytes}},
    facts {{json}},
    not_after {{int}},
    -- Raised by each change of the chain, from the counter below.
    served_revision {{int}},
    lease {{uuid}},
    lease_until {{int}},
    created_at {{int}} NOT NULL,
    updated_at {{int}} NOT NULL
) {{strict}};
CREATE INDEX certificates_next_attempt_at_idx ON certificates (next_attempt_at);
CREATE INDEX certificates_not_after_idx ON certificates (not_after);

-- These outlive their certificate, so that giving a claim up and taking it again resets no limit.
CREATE TABLE certificate_attempts (
    id {{uuid}} NOT NULL PRIMARY KEY,
    certificate_id {{uuid}} NOT NULL,
    name TEXT {{bytewise}} NOT NULL,
    app_id {{uuid}},
    is_renewal {{bool}} NOT NULL,
    authority TEXT NOT NULL,
    challenge TEXT,
    outcome TEXT NOT NULL CHECK (outcome IN ('running', 'succeeded', 'failed')),
    -- Whether the authority looked for the challenge's answer in vain.
    validation_failed {{bool}} NOT NULL,
    error TEXT,
    started_at {{int}} NOT NULL,
    ended_at {{int}}
) {{strict}};
CREATE INDEX certificate_attempts_certificate_id_idx ON certificate_attempts (certificate_id, id);
CREATE INDEX certificate_attempts_name_idx ON certificate_attempts (name, started_at);
CREATE INDEX certificate_attempts_app_id_idx ON certificate_attempts (app_id, started_at);
CREATE INDEX certificate_attempts_started_at_idx ON certificate_attempts (started_at);

CREATE TABLE acme_accounts (
    directory TEXT {{bytewise}} NOT NULL PRIMARY KEY,
    account_sealed {{bytes}} NOT NULL,
    created_at {{int}} NOT NULL
) {{strict}};

-- What authorities are to find now, answered by every node.
CREATE TABLE acme_challenges (
    certificate_id {{uuid}} NOT NULL REFERENCES certificates (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    name TEXT {{bytewise}} NOT NULL,
    token TEXT NOT NULL,
    key_authorization TEXT NOT NULL,
    PRIMARY KEY (certificate_id, kind, name)
) {{strict}};

-- The authority of names that no public one signs for.
CREATE TABLE internal_authority (
    id {{int}} NOT NULL PRIMARY KEY CHECK (id = 1),
    root TEXT NOT NULL,
    root_key_sealed {{bytes}} NOT NULL,
    intermediate TEXT NOT NULL,
    intermediate_key_sealed {{bytes}} NOT NULL,
    intermediate_not_after {{int}} NOT NULL
) {{strict}};

-- Raised by each change of what is served or answered, and up to where each node has followed.
CREATE TABLE certificate_revision (
    id {{int}} NOT NULL PRIMARY KEY CHECK (id = 1),
    revision {{int}} NOT NULL
) {{strict}};
INSERT INTO certificate_revision (id, revision) VALUES (1, 0);

CREATE TABLE certificate_nodes (
    node_id {{uuid}} NOT NULL PRIMARY KEY,
    revision {{int}} NOT NULL,
    seen_at {{int}} NOT NULL
) {{strict}};

-- For how long browsers are told to ask for the app's hosts by HTTPS alone; not at all where it is absent.
ALTER TABLE apps ADD COLUMN hsts_max_age_s {{int}};
