"""Answers statements with DuckDB: reads {"tables": [{"make", "fill", "rows"}], "statements": [...]} as JSON, writes a list of
{"rows": [[...]]} or {"error": "..."}, one a statement."""

import json
import sys

import duckdb

asked = json.load(sys.stdin)
connection = duckdb.connect(config={"threads": 1})
# As PostgreSQL has it.
connection.execute("SET default_null_order = 'nulls_last_on_asc_first_on_desc'")
connection.execute("SET TimeZone = 'UTC'")
for table in asked["tables"]:
    connection.execute(table["make"])
    if table["rows"]:
        connection.executemany(table["fill"], table["rows"])


def cell(value):
    if value is None or isinstance(value, (bool, str)):
        return value
    return float(value)


def answer(statement):
    try:
        rows = connection.execute(statement).fetchall()
    except Exception as error:
        return {"error": str(error).split("\n")[0]}
    return {"rows": [[cell(value) for value in row] for row in rows]}


json.dump([answer(statement) for statement in asked["statements"]], sys.stdout)
