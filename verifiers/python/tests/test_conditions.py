"""The conformance table that binds both verifiers."""

import json
import unittest
from pathlib import Path

from dragons_verify import conditions

VECTORS = Path(__file__).resolve().parents[3] / "test" / "vectors"
TABLE = json.loads((VECTORS / "conditions.json").read_text(encoding="utf-8"))


class Conditions(unittest.TestCase):
    def test_evaluations(self):
        for case in TABLE["evaluations"]:
            tree = conditions.parse(case["when"])
            inputs = {i["name"]: (i["type"], i["value"]) for i in case.get("inputs", [])}
            outcome = conditions.evaluate(tree, case.get("path", ""), inputs)
            self.assertEqual(outcome, case["outcome"], case)

    def test_malformed(self):
        for source in TABLE["malformed"]:
            with self.assertRaises(conditions.Malformed, msg=source):
                conditions.parse(source)

    def test_never_and_satisfiable_are_well_formed(self):
        for source in TABLE["never"] + TABLE["satisfiable"]:
            conditions.parse(source)


if __name__ == "__main__":
    unittest.main()
