-- Changes told part by part, the places of a route's parameters, and what is left to do once an app is deleted.

-- file: main

-- The app of a part that changed. Without it, `id` is that of an app that changed as a whole.
ALTER TABLE config_changes ADD COLUMN app_id {{uuid}};

-- A dot for each literal segment of the route's path and a colon for each parameter, by which it is told how far a search
-- among an app's routes can spread (shared/src/routing/spread.rs). Walked from the left, one character at a time.
ALTER TABLE routes ADD COLUMN param_shape TEXT {{bytewise}} NOT NULL DEFAULT '';
UPDATE routes SET param_shape = (
    WITH RECURSIVE walk (rest, shape) AS (
        SELECT CASE WHEN routes.path_kind = 'prefix' THEN substr(routes.path, 1, length(routes.path) - 2) ELSE routes.path END, ''
        UNION ALL
        SELECT substr(rest, 2), CASE
            WHEN substr(rest, 1, 1) <> '/' THEN shape
            WHEN substr(rest, 2, 1) = ':' AND routes.path_kind <> 'exact' THEN shape || ':'
            ELSE shape || '.' END
        FROM walk WHERE rest <> ''
    )
    SELECT shape FROM walk WHERE rest = ''
);
CREATE INDEX routes_app_id_param_shape_idx ON routes (app_id, param_shape);

-- Apps that are deleted, until their executions are purged from the log, which may be in another file.
CREATE TABLE deleted_apps (
    id {{uuid}} NOT NULL PRIMARY KEY,
    deleted_at {{int}} NOT NULL
) {{strict}};
