-- story: S13
-- about: Where does a service run, whatever its program is called?
SELECT host, pid, name, command_line FROM processes WHERE command_line ~ 'mysqld' ORDER BY host, pid;
