-- story: S6
-- about: Every host, and whether its sshd logs verbosely and refuses passwords. Two checks, one action.
SELECT a.name,
       count(DISTINCT v.path) > 0 AS logs_verbosely,
       count(DISTINCT p.path) > 0 AS refuses_passwords
FROM agents a
LEFT JOIN files v ON v.host = a.name AND v.path = '/etc/ssh/sshd_config' AND v.content ~ '(?i)^loglevel verbose$'
LEFT JOIN files p ON p.host = a.name AND p.path = '/etc/ssh/sshd_config' AND p.content ~ '(?i)^passwordauthentication no$'
GROUP BY a.name
ORDER BY a.name;
