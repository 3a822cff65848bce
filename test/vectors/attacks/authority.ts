import { GRANT } from "../../../src/domain/grant.ts";
import { encodeSigned, refOf, signBody } from "../../../src/domain/signing.ts";
import { crypto, goodStory, keyOf, SECOND, START_US, type Story } from "../../verifier/build.ts";
import { changed, drop, group, insert, only, story, told, twisted } from "./case.ts";

const { cases, add } = group("authority");
export const AUTHORITY = cases;

const wrong = (n: number): Uint8Array => new Uint8Array(32).fill(n);
add(
  "genesis-by-a-stranger",
  [20],
  "a genesis that no join key of the dock signed",
  "E_GENESIS_SIG@0",
  twisted({ genesisSigners: [keyOf("mallory"), keyOf("ledger")] }),
);
add(
  "genesis-without-the-ledger-key",
  [20],
  "a genesis that its own ledger key did not sign",
  "E_GENESIS_SIG@0",
  twisted({ genesisSigners: [keyOf("join")] }),
);
add(
  "genesis-of-a-control-ledger",
  [20],
  "an agent's receipts under a genesis of the control plane's",
  "E_PACK_ORDER@0",
  twisted({ genesis: (b) => ({ ...b, role: "CONTROL" }) }),
);
add(
  "genesis-of-another-tenant",
  [17],
  "a genesis of another tenant",
  "E_TENANT_MISMATCH@0",
  twisted({ genesis: (b) => ({ ...b, tenantId: "other" }) }),
);
add(
  "genesis-at-another-dock",
  [20],
  "a genesis at a dock that is not shown",
  "E_DOCK_MISSING@0",
  twisted({ genesis: (b) => ({ ...b, dockRef: wrong(1) }) }),
);
add(
  "genesis-of-another-manifest",
  [38],
  "a genesis of a manifest that is not shown",
  "E_MANIFEST_MISSING@0",
  twisted({ genesis: (b) => ({ ...b, manifestHash: wrong(1) }) }),
);
add(
  "genesis-after-its-dock",
  [28],
  "a genesis after its dock had ended",
  "E_GENESIS_EXPIRED@0",
  twisted({ dock: (b) => ({ ...b, notAfterUs: START_US - 35 * SECOND }) }),
);
add(
  "manifest-swapped",
  [38],
  "another manifest in its place",
  "E_MANIFEST_MISSING@0",
  changed(async (p) => {
    const other = await goodStory({ manifest: (m) => ({ ...m, agentVersion: "v8" }) });
    only(p, "MANIFEST").body = other.manifestBytes;
  }),
);
add(
  "manifest-withheld",
  [38],
  "the manifest is left out",
  "E_MANIFEST_MISSING@0",
  changed((p) => drop(p, "MANIFEST")),
);
add(
  "manifest-twice",
  [5],
  "one manifest twice",
  "E_MANIFEST_DUP@0",
  changed((p) => insert(p, "MANIFEST", 1, only(p, "MANIFEST"))),
);
add(
  "manifest-climbs",
  [52],
  "a manifest with a path that climbs out",
  "E_MANIFEST_FIELD@0",
  twisted({ manifest: (m) => ({ ...m, code: m.code.map((f) => ({ ...f, path: "../main.py" })) }) }),
);
add(
  "manifest-file-without-its-hash",
  [38],
  "a manifest that names a file and not what is in it",
  "E_MANIFEST_FIELD@0",
  twisted({
    manifest: (m) => ({ ...m, code: m.code.map((f) => ({ ...f, sha256: new Uint8Array(0) })) }),
  }),
);
add(
  "manifest-path-with-a-backslash",
  [52],
  "a manifest whose file's path is another one elsewhere",
  "E_MANIFEST_FIELD@0",
  twisted({
    manifest: (m) => ({ ...m, code: m.code.map((f) => ({ ...f, path: "agent\\main.py" })) }),
  }),
);
add(
  "manifest-unsorted",
  [40],
  "a manifest whose capabilities are out of order",
  "E_MANIFEST_FIELD@0",
  twisted({ manifest: (m) => ({ ...m, capabilities: m.capabilities.toReversed() }) }),
);
add(
  "manifest-of-an-action",
  [38],
  "an action under another manifest",
  "E_MANIFEST_MISSING@3",
  told((s) => s.act({ header: (d) => ({ ...d, manifestHash: wrong(4) }) })),
);
add(
  "manifest-of-a-boot",
  [38],
  "a boot that measured another manifest is told",
  "ANCHORED OTHER_MANIFEST:1",
  told((s) => s.lifecycle({ manifestHash: wrong(4) })),
);
add(
  "grant-by-the-issuer",
  [35],
  "the control plane signs itself a grant",
  "E_GRANT_SIG@0",
  twisted({ grantSigners: [keyOf("issuer")] }),
);
add(
  "grant-by-nobody",
  [20],
  "a grant without a signature",
  "E_GRANT_SIG@0",
  twisted({ grantSigners: [] }),
);
add(
  "grant-withheld",
  [34],
  "the grant is left out",
  "E_GRANT_MISSING@0",
  changed((p) => drop(p, "GRANT")),
);
add(
  "grant-of-a-scope-that-is-not",
  [51],
  "a grant of a scope that its manifest has not",
  "E_GRANT_MANIFEST@0",
  twisted({
    grant: (b) => ({ ...b, scopes: b.scopes.map((s) => ({ ...s, name: "read:secrets" })) }),
  }),
);
add(
  "grant-of-another-tenant",
  [31],
  "a grant of another tenant",
  "E_GRANT_TENANT@0",
  twisted({ grant: (b) => ({ ...b, tenantId: "other" }) }),
);
add(
  "grant-without-a-purpose",
  [39],
  "a grant that says no purpose",
  "E_GRANT_FIELD@0",
  twisted({ grant: (b) => ({ ...b, purpose: "" }) }),
);
add(
  "grant-of-others",
  [51],
  "a lease cut from a grant that was given to others",
  "E_LEASE_REF@0",
  fromAnother(),
);
add(
  "grant-cited-by-nothing",
  [51],
  "a grant that nothing cites",
  "E_UNREFERENCED@0",
  changed(async (p, s) => {
    const { signed } = await wide(s);
    p.splice(p.findIndex((x) => x.kind === "GRANT") + 1, 0, {
      kind: "GRANT",
      body: encodeSigned(signed),
    });
  }),
);
add(
  "grant-twice",
  [5],
  "one grant twice",
  "E_GRANT_DUP@0",
  changed((p) => insert(p, "GRANT", 1, only(p, "GRANT"))),
);
add(
  "dock-twice",
  [5],
  "one dock twice",
  "E_DOCK_DUP@0",
  changed((p) => insert(p, "DOCK", 1, only(p, "DOCK"))),
);
add(
  "dock-withheld",
  [34],
  "the dock is left out",
  "E_DOCK_MISSING@0",
  changed((p) => drop(p, "DOCK")),
);
add(
  "dock-of-another-grant",
  [51],
  "a dock for a grant that is not shown",
  "E_GRANT_MISSING@0",
  twisted({ dock: (b) => ({ ...b, grantRef: wrong(1) }) }),
);
add(
  "dock-of-another-tenant",
  [31],
  "a dock of another tenant",
  "E_DOCK_TENANT@0",
  twisted({ dock: (b) => ({ ...b, tenantId: "other" }) }),
);
add(
  "dock-without-join-keys",
  [39],
  "a dock that names no join key",
  "E_DOCK_FIELD@0",
  twisted({ dock: (b) => ({ ...b, joinKeys: [] }) }),
);
add(
  "dock-with-an-absent-join-key",
  [39],
  "a dock one of whose join keys is not there",
  "E_DOCK_FIELD@0",
  twisted({ dock: (b) => ({ ...b, joinKeys: [{ key: new Uint8Array(), ledgersMax: 1 }] }) }),
);

async function wide(s: Story) {
  const body = { ...GRANT.body.decode(s.grant.body), purpose: "for others" };
  const signed = await signBody(GRANT, body, [s.operator]);
  return { signed, ref: refOf(crypto, "grant", signed.body) };
}

function fromAnother() {
  return story(
    async (s) => {
      const { ref } = await wide(s);
      await s.lifecycle();
      await s.lease((b) => ({ ...b, grantRef: ref }));
      await s.act();
      await s.checkpoint();
    },
    { over: async (s) => ({ grants: [s.grant, (await wide(s)).signed].map(encodeSigned) }) },
  );
}
