-- Up to when cron triggers have ticked.

-- file: data

CREATE TABLE cron_triggers (
    trigger_id {{uuid}} NOT NULL PRIMARY KEY,
    app_id {{uuid}} NOT NULL,
    -- The expression and the time zone that this is about: a trigger that has others by now begins anew.
    schedule TEXT NOT NULL,
    -- All ticks up to this time were made or are done with. It changes in the transaction that adds their events.
    ticked_at {{int}} NOT NULL
) {{strict}};
CREATE INDEX cron_triggers_app_id_idx ON cron_triggers (app_id);

-- The newest time that the clock was seen to show, in one row.
CREATE TABLE cron_clock (
    id {{int}} NOT NULL PRIMARY KEY CHECK (id = 1),
    seen_at {{int}} NOT NULL
) {{strict}};
