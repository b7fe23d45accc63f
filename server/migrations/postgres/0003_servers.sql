-- With how many signatures an agent judged an action that it refused.
ALTER TABLE commands ADD COLUMN judged BIGINT NOT NULL DEFAULT 0;

-- What all servers of a database have in common.
CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- Which server each agent has its line to, where servers share the database.
CREATE TABLE lines (
    agent TEXT PRIMARY KEY,
    server INTEGER NOT NULL
) WITH (fillfactor = 50);

-- Servers that share the database hear from these triggers what another of them changed; each passes over its own words. A
-- word holds eight thousand bytes, and so a hundred ids.
CREATE FUNCTION canvass_agents() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('canvass', json_build_object(
        'by', current_setting('application_name'), 'agents', json_agg(id))::text)
    FROM (SELECT id, (row_number() OVER () - 1) / 100 AS page FROM changed) AS paged GROUP BY page;
    RETURN NULL;
END $$;
CREATE TRIGGER agents_added AFTER INSERT ON agents
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION canvass_agents();
CREATE TRIGGER agents_changed AFTER UPDATE ON agents
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION canvass_agents();

CREATE FUNCTION canvass_lines() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('canvass', json_build_object(
        'by', current_setting('application_name'), 'lines', json_agg(agent))::text)
    FROM (SELECT agent, (row_number() OVER () - 1) / 100 AS page FROM changed) AS paged GROUP BY page;
    RETURN NULL;
END $$;
CREATE TRIGGER lines_added AFTER INSERT ON lines
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION canvass_lines();
CREATE TRIGGER lines_changed AFTER UPDATE ON lines
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION canvass_lines();
CREATE TRIGGER lines_removed AFTER DELETE ON lines
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION canvass_lines();

CREATE FUNCTION canvass_action() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('canvass', json_build_object(
        'by', current_setting('application_name'), 'action', hash)::text)
    FROM changed;
    RETURN NULL;
END $$;
CREATE TRIGGER actions_added AFTER INSERT ON actions
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION canvass_action();
CREATE TRIGGER actions_changed AFTER UPDATE ON actions
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION canvass_action();

-- Parts of an answer, and commands that were added or changed.
CREATE FUNCTION canvass_answers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('canvass', json_build_object(
        'by', current_setting('application_name'), 'answers', action)::text)
    FROM (SELECT DISTINCT action FROM changed) AS actions;
    RETURN NULL;
END $$;
CREATE TRIGGER parts_added AFTER INSERT ON parts
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION canvass_answers();
CREATE TRIGGER commands_added AFTER INSERT ON commands
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION canvass_answers();

-- Agents' last words are named, since whoever schedules has to know whose they are.
CREATE FUNCTION canvass_commands() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('canvass', json_build_object(
        'by', current_setting('application_name'), 'answers', action, 'concluded', json_agg(agent))::text)
    FROM (
        SELECT action, agent, (row_number() OVER (PARTITION BY action) - 1) / 100 AS page FROM changed
        WHERE state IN ('answered', 'failed', 'refused', 'interrupted')
    ) AS paged GROUP BY action, page;
    PERFORM pg_notify('canvass', json_build_object(
        'by', current_setting('application_name'), 'answers', action)::text)
    FROM (SELECT DISTINCT action FROM changed WHERE state IN ('waiting', 'expired', 'cancelled')) AS actions;
    RETURN NULL;
END $$;
CREATE TRIGGER commands_changed AFTER UPDATE ON commands
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION canvass_commands();
