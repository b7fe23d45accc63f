-- story: S11
-- about: Which hosts see a network card, and by which address?
SELECT host, ip, mac, interface FROM neighbors WHERE mac ~ '52:54:00:12:31:31' ORDER BY host;
