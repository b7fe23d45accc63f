-- Fingerprints of all who signed, with blanks between them.
ALTER TABLE actions ADD COLUMN signers TEXT NOT NULL DEFAULT '';
UPDATE actions SET signers = investigator;
