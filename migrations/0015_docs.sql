-- What scripts keep by `docs`: documents, the indexes of their collections, and how much there is of both.

-- file: data

CREATE TABLE docs_documents (
    app_id {{uuid}} NOT NULL,
    collection TEXT {{bytewise}} NOT NULL,
    id {{uuid}} NOT NULL,
    updated_at {{int}} NOT NULL,
    -- JSON, which is read by the program alone. The last, so that SQLite reads none of a long one to look at what stands beside it.
    body TEXT NOT NULL,
    PRIMARY KEY (app_id, collection, id)
) {{strict}};

CREATE TABLE docs_indexes (
    app_id {{uuid}} NOT NULL,
    collection TEXT {{bytewise}} NOT NULL,
    -- Stands for the index in its entries. No other index of the app ever has it.
    number {{int}} NOT NULL,
    field TEXT {{bytewise}} NOT NULL,
    -- While it is being built, writes keep up what is built of it and no search uses it. `clearing` becomes `no_room`: its entries did not fit.
    state TEXT NOT NULL CHECK (state IN ('building', 'ready', 'dropping', 'clearing', 'no_room')),
    -- The last document that building came to.
    built_to {{uuid}} NOT NULL,
    PRIMARY KEY (app_id, collection, number)
) {{strict}};
CREATE INDEX docs_indexes_unfinished_idx ON docs_indexes (app_id, number) WHERE state NOT IN ('ready', 'no_room');

-- One for each document and index. The value is written so that its bytes are in the order of values.
CREATE TABLE docs_entries (
    app_id {{uuid}} NOT NULL,
    number {{int}} NOT NULL,
    value {{bytes}} NOT NULL,
    id {{uuid}} NOT NULL,
    PRIMARY KEY (app_id, number, value, id)
) {{keyed}};

-- What an app's documents and those of a collection come to, with their indexes. Whoever writes documents of an app has the row of the
-- app before, so that writes of one app follow one another on PostgreSQL as well.
CREATE TABLE docs_apps (
    app_id {{uuid}} NOT NULL PRIMARY KEY,
    documents {{int}} NOT NULL,
    bytes {{int}} NOT NULL,
    -- The number of the next index that is declared.
    next_index {{int}} NOT NULL DEFAULT 1
) {{strict}};

CREATE TABLE docs_collections (
    app_id {{uuid}} NOT NULL,
    collection TEXT {{bytewise}} NOT NULL,
    documents {{int}} NOT NULL,
    bytes {{int}} NOT NULL,
    PRIMARY KEY (app_id, collection)
) {{strict}};
