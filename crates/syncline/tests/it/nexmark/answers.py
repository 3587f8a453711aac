"""Runs the queries of duckdb.sql over a folder of Nexmark events.

    python answers.py FOLDER QUERIES.sql

Prints a line of JSON for each query: its name, and its rows as objects, values written as Syncline
writes them.
"""

import datetime
import decimal
import json
import sys

import duckdb

TIMES = {"dateTime", "expires"}
NUMBERS = {
    "id", "initialBid", "reserve", "seller", "category", "auction", "bidder", "price",
}
TABLES = {
    "person": ["id", "name", "emailAddress", "creditCard", "city", "state", "dateTime", "extra"],
    "auction": [
        "id", "itemName", "description", "initialBid", "reserve", "dateTime", "expires", "seller",
        "category", "extra",
    ],
    "bid": ["auction", "bidder", "price", "channel", "url", "dateTime", "extra"],
}


def type_of(column):
    return "TIMESTAMP" if column in TIMES else "BIGINT" if column in NUMBERS else "VARCHAR"


def written(value):
    if isinstance(value, datetime.datetime):
        text = value.isoformat(timespec="microseconds")
        if text.endswith("000000"):
            text = text[:-7]
        elif text.endswith("000"):
            text = text[:-3]
        return text + "Z"
    if isinstance(value, decimal.Decimal):
        return str(value)
    return value


def queries(path):
    """The file's queries by name: each begins with a line `-- NAME`."""
    found = {}
    name = None
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.startswith("-- q"):
                name = line[3:].strip()
                found[name] = ""
            elif name:
                found[name] += line
    return found


def main():
    folder, path = sys.argv[1:]
    connection = duckdb.connect()
    for table, columns in TABLES.items():
        types = ", ".join(f"'{column}': '{type_of(column)}'" for column in columns)
        connection.execute(
            f"CREATE TABLE {table} AS SELECT * FROM read_json("
            f"'{folder}/{table}/part-*.jsonl', format = 'newline_delimited', columns = {{{types}}})"
        )
    for name, sql in queries(path).items():
        done = connection.execute(sql)
        columns = [column[0] for column in done.description]
        rows = [dict(zip(columns, map(written, row))) for row in done.fetchall()]
        print(json.dumps({"query": name, "rows": rows}))


main()
