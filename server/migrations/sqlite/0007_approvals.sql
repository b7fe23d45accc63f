-- The signed word of an administrator that an agent belongs to the fleet. Who waits for one is held in memory alone, and comes
-- again within a minute.
ALTER TABLE agents ADD COLUMN approval TEXT;
DELETE FROM agents WHERE NOT admitted;
