-- story: A17
-- about: A service shows the MD5 fingerprint of a key. Which host has its file, and who may log in with it?
SELECT host, 'key' AS what, path, type, algorithm, comment FROM ssh_keys WHERE fingerprint_md5 = '6a:8b:e0:a9:ad:f9:d2:80:2b:0d:5b:f4:ce:ab:ba:3f'
UNION ALL
SELECT host, 'may log in', path, user, algorithm, comment FROM authorized_keys WHERE fingerprint_md5 = '6a:8b:e0:a9:ad:f9:d2:80:2b:0d:5b:f4:ce:ab:ba:3f'
ORDER BY host, what;
