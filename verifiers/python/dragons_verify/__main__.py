"""python3 -m dragons_verify PACK --trust FILE [-o json]; --batch reads cases from standard input."""

import argparse
import io
import json
import sys
import time

from . import fork
from .artifacts import TrustFault, trust_file
from .verify import exit_code, verify


def main():
    parser = argparse.ArgumentParser(prog="dragons_verify", description=__doc__)
    parser.add_argument("pack", nargs="?")
    parser.add_argument("--trust")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text")
    parser.add_argument("--batch", action="store_true")
    try:
        args = parser.parse_args()
    except SystemExit as e:
        return 64 if e.code else 0
    if args.batch:
        return batch()
    if args.pack is None:
        parser.print_usage(sys.stderr)
        return 64
    return one(args)


def one(args):
    try:
        trust = None
        if args.trust is not None:
            with open(args.trust, "rb") as file:
                trust = trust_file(file.read())
    except (OSError, TrustFault) as fault:
        print(f"dragons_verify: trust file: {fault}", file=sys.stderr)
        return 78
    try:
        with open(args.pack, "rb") as file:
            report = judged(file, trust, time.time_ns() // 1000)
    except OSError as fault:
        print(f"dragons_verify: {fault}", file=sys.stderr)
        return 64
    if args.output == "json":
        print(json.dumps(report, indent=2))
    else:
        broken = report["broken"]
        where = f" at {broken['index']}" if broken and "index" in broken else ""
        why = f" {broken['code']}{where}: {broken['detail']}" if broken else ""
        print(report["verdict"] + why)
        for flag in report.get("flags", []):
            said = (flag["flag"], flag["at"] or flag["count"], flag["ledger"][:16], flag["detail"])
            print(*(str(x) for x in said if x))
    return exit_code(report)


def judged(file, trust, now_us):
    """A pack, or a proof of a fork: they say themselves which they are."""
    start = file.read(len(fork.MAGIC))
    if start == fork.MAGIC:
        return fork.judge(start + file.read(fork.MAX + 1), trust)
    file.seek(0)
    return verify(file, trust, now_us)


def batch():
    """A line of JSON a case, `{pack: hex, trust: object or null, nowUs}`; a report a line comes out."""
    for line in sys.stdin:
        case = json.loads(line)
        trust = case["trust"] and trust_file(json.dumps(case["trust"]).encode())
        pack = io.BytesIO(bytes.fromhex(case["pack"]))
        print(json.dumps(judged(pack, trust, case["nowUs"])), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
