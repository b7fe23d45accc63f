CREATE TABLE agents (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    admitted BOOLEAN NOT NULL,
    -- The latest heartbeat, as the agent signed it.
    statement TEXT NOT NULL,
    signature TEXT NOT NULL,
    -- Nanoseconds since 1970, by the server's clock.
    heard_at BIGINT NOT NULL,
    public_ip TEXT
) WITH (fillfactor = 50);

CREATE TABLE actions (
    hash TEXT PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    envelope TEXT NOT NULL,
    statement TEXT NOT NULL,
    investigator TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    -- An agent that began in time has answered by then.
    answers_until BIGINT NOT NULL,
    -- The signed withdrawal, once there is one.
    withdrawal TEXT,
    closed BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX actions_open ON actions (closed, answers_until);
CREATE INDEX actions_created ON actions (created_at);

-- Each command is updated twice or three times; room in its page keeps the index out of it.
CREATE TABLE commands (
    action TEXT NOT NULL REFERENCES actions (hash) ON DELETE CASCADE,
    agent TEXT NOT NULL,
    state TEXT NOT NULL,
    sent_at BIGINT,
    finished_at BIGINT,
    rows BIGINT NOT NULL DEFAULT 0,
    bytes BIGINT NOT NULL DEFAULT 0,
    troubles BIGINT NOT NULL DEFAULT 0,
    reason TEXT,
    PRIMARY KEY (action, agent)
) WITH (fillfactor = 50);

CREATE TABLE parts (
    position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    action TEXT NOT NULL REFERENCES actions (hash) ON DELETE CASCADE,
    agent TEXT NOT NULL,
    -- What the agent signed; the same part delivered twice is one part.
    signature TEXT NOT NULL,
    statement TEXT NOT NULL,
    body BYTEA NOT NULL,
    UNIQUE (action, agent, signature)
);
CREATE INDEX parts_of_action ON parts (action, position);

CREATE TABLE audit (
    position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at BIGINT NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL,
    action TEXT,
    detail TEXT NOT NULL
);
