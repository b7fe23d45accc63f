-- story: A6
-- about: Is the address that used the key still connected anywhere?
SELECT host, remote_ip, remote_port, local_ip, local_port, state, process
FROM netstat
WHERE remote_ip = '18.42.21.65' AND agent.status = 'online'
ORDER BY host, remote_port;
