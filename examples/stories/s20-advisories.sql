-- story: S20
-- about: Thousands of advisories in one statement: their names travel as a set, and outdated packages alone come back.
SELECT p.host, p.name, p.version, v.fixed, v.advisory
FROM packages p
JOIN 'examples/advisories.csv' v ON p.name = v.name AND p.source = v.source
WHERE p.status = 'installed' AND version_lt(p.version, v.fixed, p.source)
ORDER BY p.host, p.name;
