-- Routes whose callers are answered at once, and whose scripts run later.

-- file: main

ALTER TABLE routes ADD COLUMN is_async {{bool}} NOT NULL DEFAULT FALSE;
