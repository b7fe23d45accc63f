-- Runs of standing actions, 0 for an action that is asked once; and the code of a refusal or failure beside its words.
ALTER TABLE commands ADD COLUMN run BIGINT NOT NULL DEFAULT 0, ADD COLUMN code TEXT;
ALTER TABLE commands DROP CONSTRAINT commands_pkey, ADD PRIMARY KEY (action, run, agent);

ALTER TABLE parts ADD COLUMN run BIGINT NOT NULL DEFAULT 0;
