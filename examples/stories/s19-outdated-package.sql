-- story: S19
-- about: Which hosts have a package that is older than the fixed one? The endpoint compares as dpkg does.
SELECT host, name, version
FROM packages
WHERE name = 'openssh-server' AND arch = 'amd64' AND version_lt(version, '1:9.2p1-2+deb12u3')
ORDER BY host;
