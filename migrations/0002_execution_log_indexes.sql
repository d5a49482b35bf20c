-- The execution log is read page by page in the order of ids, which is that of time, with an outcome and without.

-- file: logs

DROP INDEX executions_script_id_idx;
DROP INDEX executions_app_id_idx;
CREATE INDEX executions_script_id_id_idx ON executions (script_id, id);
CREATE INDEX executions_script_id_outcome_id_idx ON executions (script_id, outcome, id);
CREATE INDEX executions_app_id_id_idx ON executions (app_id, id);
CREATE INDEX executions_app_id_outcome_id_idx ON executions (app_id, outcome, id);
