-- story: S2
-- about: An indicator names a file by its MD5. Where is it, whatever it is called?
SELECT host, path, mode, owner
FROM files
WHERE path UNDER '/' AND type = 'file' AND md5 = '2a5c4d880879cd41d5f7ff821558ddec'
ORDER BY host, path;
