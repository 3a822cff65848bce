import { expect, test } from "vitest";
import { claimOf, manifestBody } from "../../test/fixtures/authority.ts";
import { DRAFT } from "./manifest.ts";
import { remedyFor } from "./remedy.ts";

const REFUND = claimOf("/payments.v1.Payments/Cancel");

test("an agent whose manifest was drafted by dragons run is told the --allow that would do", () => {
  const drafted = manifestBody({ agentVersion: DRAFT, capabilities: [] });
  const text = remedyFor(drafted, [], REFUND, null);
  expect(text.split("\n")[0]).toBe(
    "dragons run --allow 'grpc payments.v1.Payments/Cancel at payments.internal:443' …  # and the rest as before; or:",
  );
  expect(text).toContain("# in dragon.yaml, with a new version:");
  expect(text).toContain("dragons grant create ");
});

test("so is one that speaks HTTP, unless a shell would read the path in another way", () => {
  const drafted = manifestBody({ agentVersion: DRAFT, capabilities: [] });
  const asked = (path: string) =>
    remedyFor(
      drafted,
      [],
      { ...REFUND, protocol: "HTTP", verb: "GET", scheme: "HTTPS", target: "h.example:443", path },
      null,
    );
  expect(asked("/a.txt")).toContain(
    "dragons run --allow 'http GET https://h.example/a.txt' …  # and the rest as before; or:",
  );
  expect(asked("/o'clock")).not.toContain("--allow");
});

test("what passes unread is offered with a bound on its bytes, and never by --allow", () => {
  const drafted = manifestBody({ agentVersion: DRAFT, capabilities: [] });
  const asked = { ...REFUND, protocol: "OPAQUE", path: "", target: "bank.example:443" } as const;
  expect(remedyFor(drafted, [], asked, null).split("\n")).toEqual([
    "# in dragon.yaml, with a new version:",
    "capabilities:",
    "  opaque:bank:",
    "    - opaque: bank.example:443",
    "# then:",
    "dragons manifest record dragon.yaml",
    'dragons grant create --manifest dragon.yaml --scope opaque:bank:max_bytes=10000000 --unlimited --purpose "allow opaque bank.example:443"',
  ]);
  expect(remedyFor(manifestBody(), [], asked, "opaque:money")).toContain(
    " --scope opaque:money:max_bytes=10000000 ",
  );
});

test("what is refused is never offered among what is merely listened to: nobody would see it hang", () => {
  const [rules] = manifestBody().capabilities.map((c) => c.rules);
  const listening = (...listens: string[]) => {
    const capabilities = listens.map((name) => ({ name, rules: rules ?? [] }));
    return remedyFor(manifestBody({ capabilities, listens }), [], REFUND, null);
  };
  expect(listening("read:payments")).toContain("\n  write:payments:\n");
  expect(listening("write:payments")).toContain("\n  use:payments:\n");
  expect(listening("use:payments", "write:payments")).toBe("");
});

test("one with a manifest of its own is told the lines of it, and no --allow", () => {
  const text = remedyFor(manifestBody(), [], REFUND, null);
  expect(text).toContain("# in dragon.yaml, with a new version:");
  expect(text).not.toContain("--allow");
});
