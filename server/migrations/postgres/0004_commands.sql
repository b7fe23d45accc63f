-- Commands are written with their action or for one that is open, and forgotten with it (`purge`). Looking each command's
-- action up once more was a third of the time to write those of a large fleet, before which no agent is asked.
ALTER TABLE commands DROP CONSTRAINT commands_action_fkey;
