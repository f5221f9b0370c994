"""`streamd schema`: prints the configuration language as JSON Schema, reference page or sample."""

import argparse
import json

from streamd.cli._standard_streams import for_programs
from streamd.config import json_schema, reference


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "table", nargs="?", metavar="TABLE", help="print a sample of one table, such as sources.udp or daemon"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the JSON Schema of the whole file (default)")
    form.add_argument("--markdown", action="store_true", help="print the reference page")


def main(args: argparse.Namespace) -> int:
    """Print the chosen form. Raises `ConfigError` for a table that does not exist."""
    if args.table:
        text = reference.sample(args.table)
    elif args.markdown:
        text = reference.markdown()
    else:
        text = json.dumps(json_schema.json_schema(), indent=2, ensure_ascii=False) + "\n"
    print(text, end="", file=for_programs())
    return 0
