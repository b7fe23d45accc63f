-- Bytes of parts that are stored for a command: an answer has no more than its action allows, whatever an agent sends.
ALTER TABLE commands ADD COLUMN stored_bytes INTEGER NOT NULL DEFAULT 0;
