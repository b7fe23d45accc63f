-- story: A5
-- about: Where was a stolen SSH key used to log in? Its fingerprint stands in the logs of sshd.
SELECT host, path, mtime, mode, size
FROM files
WHERE path UNDER '/var/log'
  AND name ~ '^(secure|auth.log)$'
  AND content ~ ' c5:35:42:f4:26:ee:bc:e4:30:a6:3b:ed:f0:cb:2b:46'
  AND agent.status IN ('online', 'idle')
ORDER BY host, path;
