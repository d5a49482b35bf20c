-- Events that are to be handled, what came of them, and those that are not tried again; and which trigger started an execution.

-- file: data

CREATE TABLE events (
    -- The order of writing, which ids do not have within a millisecond.
    seq {{serial}} PRIMARY KEY,
    id {{uuid}} NOT NULL UNIQUE,
    app_id {{uuid}} NOT NULL,
    -- Where it waits: 'queue:' and the queue's name, or 'trigger:' or 'script:' and the id of what is to handle it.
    lane TEXT {{bytewise}} NOT NULL,
    source TEXT NOT NULL,
    op TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'dead')),
    -- How often it was begun.
    attempt {{int}} NOT NULL,
    depth {{int}} NOT NULL,
    created_at {{int}} NOT NULL,
    -- From when on it was to be handled at first, which is its place in its lane, and from when on it may be next.
    ordered_at {{int}} NOT NULL,
    -- 0 is at once.
    due_at {{int}} NOT NULL,
    first_attempt_at {{int}},
    last_attempt_at {{int}},
    last_error TEXT,
    -- Who handles it, or did last.
    trigger_id {{uuid}},
    script_id {{uuid}},
    execution_id {{uuid}},
    -- Who may say what comes of the attempt, and until when it is theirs, by the clock of leases.
    claim {{uuid}},
    lease_until {{int}},
    ended_at {{int}},
    dead_letter_id {{uuid}},
    replay_of {{uuid}},
    dedup_key TEXT {{bytewise}},
    bytes {{int}} NOT NULL,
    -- Gone once the event has ended.
    payload TEXT
) {{strict}};
-- Pages of an app's events go by it.
CREATE INDEX events_app_id_id_idx ON events (app_id, id);
CREATE UNIQUE INDEX events_app_id_lane_dedup_key_key ON events (app_id, lane, dedup_key) WHERE dedup_key IS NOT NULL;
-- What is due of a lane, and what is due of any.
CREATE INDEX events_app_id_lane_due_at_idx ON events (app_id, lane, due_at, seq) WHERE state = 'waiting';
CREATE INDEX events_due_at_idx ON events (due_at) WHERE state = 'waiting';
-- A lane in its order.
CREATE INDEX events_app_id_lane_ordered_at_idx ON events (app_id, lane, ordered_at, seq) WHERE ended_at IS NULL;
-- What is being handled: of a lane, by whom, and for how long.
CREATE INDEX events_app_id_lane_claim_idx ON events (app_id, lane, claim) WHERE state = 'running';
CREATE INDEX events_claim_idx ON events (claim) WHERE claim IS NOT NULL;
CREATE INDEX events_lease_until_idx ON events (lease_until) WHERE lease_until IS NOT NULL;
-- For the sweeper, over all apps and for one.
CREATE INDEX events_ended_at_idx ON events (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX events_app_id_ended_at_idx ON events (app_id, ended_at) WHERE ended_at IS NOT NULL;

-- Each attempt that has ended.
CREATE TABLE event_attempts (
    event_id {{uuid}} NOT NULL,
    attempt {{int}} NOT NULL,
    execution_id {{uuid}},
    started_at {{int}} NOT NULL,
    ended_at {{int}} NOT NULL,
    outcome TEXT NOT NULL,
    error TEXT,
    PRIMARY KEY (event_id, attempt)
) {{strict}};

CREATE TABLE dead_letters (
    id {{uuid}} NOT NULL PRIMARY KEY,
    app_id {{uuid}} NOT NULL,
    event_id {{uuid}} NOT NULL,
    created_at {{int}} NOT NULL,
    lane TEXT {{bytewise}} NOT NULL,
    source TEXT NOT NULL,
    op TEXT NOT NULL,
    trigger_id {{uuid}},
    script_id {{uuid}},
    attempt_count {{int}} NOT NULL,
    first_attempt_at {{int}},
    last_attempt_at {{int}},
    last_error TEXT NOT NULL,
    resolved_at {{int}},
    resolved_by {{uuid}},
    resolution TEXT CHECK (resolution IN ('replayed', 'resolved')),
    replay_event_id {{uuid}},
    bytes {{int}} NOT NULL,
    -- Gone once it is resolved.
    payload TEXT
) {{strict}};
CREATE INDEX dead_letters_app_id_id_idx ON dead_letters (app_id, id);
CREATE INDEX dead_letters_app_id_id_unresolved_idx ON dead_letters (app_id, id) WHERE resolved_at IS NULL;
CREATE INDEX dead_letters_resolved_at_idx ON dead_letters (resolved_at) WHERE resolved_at IS NOT NULL;
CREATE INDEX dead_letters_app_id_resolved_at_idx ON dead_letters (app_id, resolved_at) WHERE resolved_at IS NOT NULL;

-- What an app's events that have not ended and its dead letters that are not resolved come to, kept up to date by each write.
-- Whoever changes that has the row of the app before, so that writes of one app follow one another on PostgreSQL as well.
CREATE TABLE event_apps (
    app_id {{uuid}} NOT NULL PRIMARY KEY,
    events {{int}} NOT NULL,
    bytes {{int}} NOT NULL
) {{strict}};

-- Lanes that have had events to handle. On PostgreSQL, whoever takes events of a lane has its row before, so that no more run at once
-- over all nodes than may.
CREATE TABLE event_lanes (
    app_id {{uuid}} NOT NULL,
    lane TEXT {{bytewise}} NOT NULL,
    -- The latest time at which an event came, so that a clock that is set back changes no order.
    newest_at {{int}} NOT NULL,
    PRIMARY KEY (app_id, lane)
) {{strict}};

-- file: logs

ALTER TABLE executions ADD COLUMN trigger_id {{uuid}};
