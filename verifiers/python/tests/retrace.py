"""Decides histories again: a line of JSON each comes in, the word of each transition comes out.

    {"transitions": [hex], "beats": [[ref, hex]], "manifest": hex, "liveness": hex}
"""

import json
import sys

from dragons_verify.canonical import decode
from dragons_verify.states import retrace


def main():
    for line in sys.stdin:
        told = json.loads(line)
        transitions = [decode("transition", bytes.fromhex(t)) for t in told["transitions"]]
        beats = {bytes.fromhex(r): decode("heartbeat", bytes.fromhex(b)) for r, b in told["beats"]}
        liveness = decode("liveness", bytes.fromhex(told["liveness"]))
        print(*retrace(transitions, beats, bytes.fromhex(told["manifest"]), liveness))


if __name__ == "__main__":
    main()
