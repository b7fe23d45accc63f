-- Revocations of certificates, as they are brought to agents; one of each key is enough.
CREATE TABLE revocations (
    -- What is revoked: the certificate's own key, or a subkey of it.
    key TEXT PRIMARY KEY,
    certificate TEXT NOT NULL,
    armor TEXT NOT NULL,
    posted_by TEXT NOT NULL,
    at BIGINT NOT NULL
);

CREATE FUNCTION canvass_revocations() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('canvass', json_build_object(
        'by', current_setting('application_name'), 'revocations', true)::text);
    RETURN NULL;
END $$;
CREATE TRIGGER revocations_added AFTER INSERT ON revocations
    FOR EACH STATEMENT EXECUTE FUNCTION canvass_revocations();
