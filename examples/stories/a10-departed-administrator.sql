-- story: A10
-- about: An administrator left. Which hosts still have the account?
SELECT host FROM files WHERE path = '/etc/passwd' AND content ~ '^skaramazov:' ORDER BY host;
