-- The limits that cut an agent's scans short.
ALTER TABLE commands ADD COLUMN cut TEXT;
