CREATE TABLE agents (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    admitted INTEGER NOT NULL,
    -- The latest heartbeat, as the agent signed it.
    statement TEXT NOT NULL,
    signature TEXT NOT NULL,
    -- Nanoseconds since 1970, by the server's clock.
    heard_at INTEGER NOT NULL,
    public_ip TEXT
) STRICT;

CREATE TABLE actions (
    hash TEXT PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    envelope TEXT NOT NULL,
    statement TEXT NOT NULL,
    investigator TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    -- An agent that began in time has answered by then.
    answers_until INTEGER NOT NULL,
    -- The signed withdrawal, once there is one.
    withdrawal TEXT,
    closed INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX actions_open ON actions (closed, answers_until);
CREATE INDEX actions_created ON actions (created_at);

CREATE TABLE commands (
    action TEXT NOT NULL REFERENCES actions (hash) ON DELETE CASCADE,
    agent TEXT NOT NULL,
    state TEXT NOT NULL,
    sent_at INTEGER,
    finished_at INTEGER,
    rows INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    troubles INTEGER NOT NULL DEFAULT 0,
    reason TEXT,
    PRIMARY KEY (action, agent)
) STRICT, WITHOUT ROWID;

CREATE TABLE parts (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    action TEXT NOT NULL REFERENCES actions (hash) ON DELETE CASCADE,
    agent TEXT NOT NULL,
    -- What the agent signed; the same part delivered twice is one part.
    signature TEXT NOT NULL,
    statement TEXT NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (action, agent, signature)
) STRICT;
CREATE INDEX parts_of_action ON parts (action, position);

CREATE TABLE audit (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL,
    action TEXT,
    detail TEXT NOT NULL
) STRICT;
