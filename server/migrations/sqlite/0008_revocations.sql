-- Revocations of certificates, as they are brought to agents; one of each key is enough.
CREATE TABLE revocations (
    -- What is revoked: the certificate's own key, or a subkey of it.
    key TEXT PRIMARY KEY,
    certificate TEXT NOT NULL,
    armor TEXT NOT NULL,
    posted_by TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
