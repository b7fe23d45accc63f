-- story: A2
-- about: An access key was pushed to a public repository. Who else has it lying about in a small file?
SELECT host, path, mtime, mode, size
FROM files
WHERE (path UNDER '/home' OR path UNDER '/root')
  AND depth <= 5
  AND size < '1k'
  AND content ~ 'AKIAIOSFODNN7EXAMPLE|wJalrXUtnFEMI/K7MDENG'
  AND agent.status IN ('online', 'idle')
ORDER BY host, path;
