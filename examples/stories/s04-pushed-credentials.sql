-- story: S4
-- about: Somebody committed a .boto file. Where else is that secret?
SELECT host, path FROM files WHERE path UNDER '/' AND name ~ '^\.boto$' AND content ~ 'abcdef123456' ORDER BY host, path;
