-- story: S5
-- about: Got any private keys in those home folders?
SELECT host, path, mode
FROM files
WHERE path UNDER ANY ('/home', '/Users', '/root') AND content ~ '^-----BEGIN [A-Z ]*PRIVATE KEY-----'
ORDER BY host, path;
