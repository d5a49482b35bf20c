-- What an app lets its execution records keep.

-- file: main

ALTER TABLE apps ADD COLUMN redacted_headers {{json}} NOT NULL DEFAULT '[]';
ALTER TABLE apps ADD COLUMN record_bodies {{bool}} NOT NULL DEFAULT TRUE;
