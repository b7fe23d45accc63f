-- story: A11
-- about: What runs as uid 6352? Asked of /proc as files, as the old tool had to.
SELECT host, path
FROM files
WHERE path UNDER '/proc' AND depth <= 2 AND name = 'status' AND content ~ '^Uid:\s+6352\s+'
ORDER BY host, path;

-- The same, asked of the table that is made for it.
SELECT host, pid, name FROM processes WHERE uid = 6352 ORDER BY host, pid;
