"""Writes the JSON of standard input as TOML. What TOML has no word for, null, is refused."""

import json
import sys


def value(item) -> str:
    match item:
        case dict():
            return "{ " + ", ".join(f"{json.dumps(k)} = {value(v)}" for k, v in item.items()) + " }"
        case list():
            return "[" + ", ".join(map(value, item)) + "]"
        case None:
            sys.exit("TOML has no null")
        case _:
            return json.dumps(item)  # strings, numbers and booleans are spelled alike


def table(name: str, items: dict) -> None:
    if name:
        print(f"\n[{name}]")
    for key, item in items.items():
        if not isinstance(item, dict):
            print(f"{json.dumps(key)} = {value(item)}")
    for key, item in items.items():
        if isinstance(item, dict):
            table(f"{name}.{json.dumps(key)}" if name else json.dumps(key), item)


table("", json.load(sys.stdin))
