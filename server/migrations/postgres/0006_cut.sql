-- The limits that cut an agent's scans short.
ALTER TABLE commands ADD COLUMN cut TEXT;

-- An agent may say that it had not begun when an action was withdrawn: whoever schedules has to know whose word that is.
CREATE OR REPLACE FUNCTION canvass_commands() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('canvass', json_build_object(
        'by', current_setting('application_name'), 'answers', action, 'concluded', json_agg(agent))::text)
    FROM (
        SELECT action, agent, (row_number() OVER (PARTITION BY action) - 1) / 100 AS page FROM changed
        WHERE state IN ('answered', 'failed', 'refused', 'interrupted', 'cancelled')
    ) AS paged GROUP BY action, page;
    PERFORM pg_notify('canvass', json_build_object(
        'by', current_setting('application_name'), 'answers', action)::text)
    FROM (SELECT DISTINCT action FROM changed WHERE state IN ('waiting', 'expired')) AS actions;
    RETURN NULL;
END $$;
