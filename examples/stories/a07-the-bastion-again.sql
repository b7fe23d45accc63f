-- story: A7
-- about: Which hosts have both the fingerprint in their logs and the address on a socket? One signed action, two scans.
SELECT f.host, f.path, n.remote_ip, n.remote_port
FROM files f
JOIN netstat n ON n.host = f.host
WHERE f.path UNDER '/var/log'
  AND f.name ~ '^(secure|auth.log)$'
  AND f.content ~ 'c5:35:42:f4:26:ee:bc:e4:30:a6:3b:ed:f0:cb:2b:46'
  AND n.remote_ip = '18.42.21.65'
ORDER BY f.host, n.remote_port;
