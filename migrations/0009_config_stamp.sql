-- A number drawn at each change of the configuration, by which two histories that count the same are told apart: one store
-- may have gone back (a restored backup, a failover) and reached the same version again.

-- file: main

ALTER TABLE config_version ADD COLUMN stamp {{int}} NOT NULL DEFAULT 0;
ALTER TABLE config_changes ADD COLUMN stamp {{int}} NOT NULL DEFAULT 0;
