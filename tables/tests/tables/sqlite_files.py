"""Makes SQLite files of many kinds in the folder argv[1], and prints the rows that SQLite itself reads from each."""

import os
import random
import sqlite3
import struct
import sys

folder = sys.argv[1]
chance = random.Random(18)


def shown(value):
    if value is None:
        return "null"
    if isinstance(value, int):
        return f"i{value}"
    if isinstance(value, float):
        return "r" + struct.pack(">d", value).hex()
    if isinstance(value, str):
        return "t" + value.encode("utf-8").hex()
    return "b" + value.hex()


def tell(name, database, tables):
    for table in tables:
        for row in database.execute(f'SELECT rowid, * FROM "{table}" ORDER BY rowid'):
            print(name, table, " ".join([str(row[0])] + [shown(value) for value in row[1:]]), sep="\t")


def value(longest):
    kind = chance.randrange(8)
    if kind == 0:
        return None
    if kind < 4:
        return chance.randrange(2 ** chance.randrange(1, 64)) * chance.choice((1, -1))
    if kind == 4:
        return chance.uniform(-1e9, 1e9)
    if kind == 5:
        return chance.randbytes(chance.randrange(longest))
    return "".join(chance.choice("abc déß€𝄞") for _ in range(chance.randrange(longest // 4)))


def fill(database, rows, longest):
    database.execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b, c REAL, d TEXT, e BLOB)")
    for _ in range(rows):
        real = chance.choice((None, float(chance.randrange(1000)), chance.random()))
        database.execute("INSERT INTO t(b, c, d, e) VALUES (?, ?, ?, ?)", (value(longest), real, value(longest), value(longest)))


def make(name, before="", rows=300, longest=400, after="", tables=("t",)):
    database = sqlite3.connect(os.path.join(folder, name + ".db"), isolation_level=None)
    database.executescript(before)
    database.execute("BEGIN")
    fill(database, rows, longest)
    database.execute("COMMIT")
    database.executescript(after)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    tell(name, database, tables)
    database.close()


for size in 512, 1024, 4096, 32768, 65536:
    make(f"page-{size}", f"PRAGMA page_size={size}")
make("many", "PRAGMA page_size=512", rows=20000, longest=40)
make("big", rows=12, longest=600000)
make("utf16le", "PRAGMA encoding='UTF-16le'")
make("utf16be", "PRAGMA encoding='UTF-16be'; PRAGMA page_size=1024")
make("deleted", after="DELETE FROM t WHERE a % 3 = 0; DELETE FROM t WHERE a BETWEEN 100 AND 250; INSERT INTO t(b) VALUES (7)")
make("emptied", after="DELETE FROM t")
make("vacuum", after="DELETE FROM t WHERE a % 2; VACUUM")
make("auto-vacuum", "PRAGMA auto_vacuum=full", after="DELETE FROM t WHERE a > 200")
make("truncate", "PRAGMA journal_mode=persist")
make("altered", after="""
    ALTER TABLE t ADD COLUMN f DEFAULT 'none'; ALTER TABLE t ADD COLUMN g INTEGER DEFAULT -5; ALTER TABLE t ADD COLUMN h;
    ALTER TABLE t ADD COLUMN i REAL DEFAULT 1.5; INSERT INTO t(b, f, g, h, i) VALUES (1, 2, 3, 4, 5);
    ALTER TABLE t RENAME COLUMN b TO "b b"; ALTER TABLE t DROP COLUMN d; ALTER TABLE t RENAME TO "other table"
    """, tables=["other table"])
make("names", after="""
    CREATE TABLE [odd "name"]("a,b" INTEGER, `c)` TEXT CHECK (`c)` <> ','), [PRIMARY] DECIMAL(10, 2), 'd' -- e, f
        , g /* h */ INTEGER, CONSTRAINT k PRIMARY KEY (g));
    INSERT INTO [odd "name"] VALUES (1, 'x', 2.5, NULL, -7), (2, 'y', 3, 'z', -9223372036854775808), (3, '', 1, 'z', 9223372036854775807);
    CREATE TABLE computed(a, b AS (a + 1), c GENERATED ALWAYS AS (a * 2) STORED, d INTEGER PRIMARY KEY DESC);
    INSERT INTO computed(a, d) VALUES (1, 100), (5, 50);
    CREATE TABLE made AS SELECT a, c FROM t;
    """, tables=["t", "made"])
database = sqlite3.connect(os.path.join(folder, "names.db"))
for row in database.execute('SELECT g, * FROM [odd "name"] ORDER BY g'):
    print("names", 'odd "name"', " ".join([str(row[0])] + [shown(value) for value in row[1:]]), sep="\t")
for row in database.execute("SELECT rowid, a, NULL, c, d FROM computed ORDER BY rowid"):
    print("names", "computed", " ".join([str(row[0])] + [shown(value) for value in row[1:]]), sep="\t")
database.close()

# Reserved space at the end of pages: set in a database of one page, which SQLite then keeps to.
path = os.path.join(folder, "reserved.db")
database = sqlite3.connect(path, isolation_level=None)
database.executescript("PRAGMA page_size=1024; CREATE TABLE x(a); DROP TABLE x; VACUUM")
database.close()
with open(path, "r+b") as file:
    file.seek(20)
    file.write(bytes([32]))
    file.seek(105)
    file.write(struct.pack(">H", 1024 - 32))
make("reserved")

# Logs that are left beside their files, as by programs that run: with a checkpoint between, with what is not committed.
kept = []
for name, size in ("log", 4096), ("log-small", 512), ("log-large", 65536):
    database = sqlite3.connect(os.path.join(folder, name + ".db"), isolation_level=None)
    database.executescript(f"PRAGMA page_size={size}; PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=8")
    fill(database, 200, 300)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)" if size == 4096 else "PRAGMA wal_checkpoint(PASSIVE)")
    database.execute("DELETE FROM t WHERE a % 5 = 0")
    database.execute("UPDATE t SET b = 'changed' WHERE a % 7 = 0")
    reader = sqlite3.connect(os.path.join(folder, name + ".db"), isolation_level=None)
    reader.execute("BEGIN")
    tell(name, reader, ["t"])
    database.execute("BEGIN")
    for _ in range(100):
        database.execute("INSERT INTO t(b, e) VALUES ('not committed', ?)", (bytes(3000),))
    kept += [database, reader]

database = sqlite3.connect(os.path.join(folder, "refused.db"), isolation_level=None)
database.executescript("CREATE TABLE w(a PRIMARY KEY, b) WITHOUT ROWID; CREATE VIRTUAL TABLE v USING rtree(a, b, c); CREATE VIEW s AS SELECT 1")
database.close()
sqlite3.connect(os.path.join(folder, "nothing.db")).close()
sys.stdout.flush()
# Without closing anything, so that the logs stay.
os._exit(0)
