-- Runs of standing actions, 0 for an action that is asked once; and the code of a refusal or failure beside its words.
CREATE TABLE commands_by_run (
    action TEXT NOT NULL REFERENCES actions (hash) ON DELETE CASCADE,
    run INTEGER NOT NULL DEFAULT 0,
    agent TEXT NOT NULL,
    state TEXT NOT NULL,
    sent_at INTEGER,
    finished_at INTEGER,
    rows INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    troubles INTEGER NOT NULL DEFAULT 0,
    reason TEXT,
    code TEXT,
    judged INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (action, run, agent)
) STRICT, WITHOUT ROWID;
INSERT INTO commands_by_run (action, agent, state, sent_at, finished_at, rows, bytes, troubles, reason, judged)
    SELECT action, agent, state, sent_at, finished_at, rows, bytes, troubles, reason, judged FROM commands;
DROP TABLE commands;
ALTER TABLE commands_by_run RENAME TO commands;

ALTER TABLE parts ADD COLUMN run INTEGER NOT NULL DEFAULT 0;
