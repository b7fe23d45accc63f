-- story: cheat sheet
-- about: Which hosts have a package of nginx?
SELECT host, name, version, arch FROM packages WHERE name ~ 'nginx' ORDER BY host, name;
