-- With how many signatures an agent judged an action that it refused.
ALTER TABLE commands ADD COLUMN judged INTEGER NOT NULL DEFAULT 0;
