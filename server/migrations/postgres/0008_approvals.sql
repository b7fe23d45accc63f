-- The signed word of an administrator that an agent belongs to the fleet. Who waits for one is held in memory alone, and comes
-- again within a minute.
ALTER TABLE agents ADD COLUMN approval TEXT;
DELETE FROM agents WHERE NOT admitted;

CREATE TRIGGER agents_removed AFTER DELETE ON agents
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION canvass_agents();
