import { createInterface } from "node:readline";
import { ClaimBody } from "../../src/domain/claim.ts";
import { EvidenceBody } from "../../src/domain/payload.ts";
import { openRig } from "../datapath/harness.ts";

/**
 * The whole data path with its gateway, in the network namespace that it was started in. A line `N` is
 * answered once there are so many receipts, with all of them; the end of its input is its own.
 *
 *     node child.ts '{"port": 15001, "names": {"world.example": ["203.0.113.7"]}, "upstreamCa": "…", "opaque": "…"}'
 */
export interface ChildOptions {
  readonly port: number;
  readonly names: Readonly<Record<string, string[]>>;
  /** PEM */
  readonly upstreamCa: string;
  /** To which TLS is passed on unread. */
  readonly opaque: string;
}

export interface Told {
  /** DENIAL: it never came to an intent. */
  readonly verdict: string;
  readonly reason: string;
  readonly target: string;
  readonly protocol: string;
  readonly dialled: string;
}

const options = JSON.parse(process.argv[2] ?? "") as ChildOptions;
const rig = await openRig(
  { gateway: { host: "::", port: options.port }, upstreamCa: options.upstreamCa },
  undefined,
  (host) => {
    const found = options.names[host];
    return found === undefined ? Promise.reject(new Error("ENOTFOUND")) : Promise.resolve(found);
  },
);
rig.opaque.add(options.opaque);
const say = (what: unknown): void => void process.stdout.write(`${JSON.stringify(what)}\n`);

const told = (): Told[] => [
  ...rig.ledger.closed.map(({ verdict, reason, draft: { claim }, evidence }) => {
    const { dialled } = EvidenceBody.decode(evidence);
    return { verdict, reason, target: claim.target, protocol: claim.protocol, dialled };
  }),
  ...rig.ledger.recorded.map(({ kind, reason, claim }) => {
    const { target, protocol } = claim.length === 0 ? ClaimBody.empty() : ClaimBody.decode(claim);
    return { verdict: kind, reason, target, protocol, dialled: "" };
  }),
];

say({ ca: rig.ca.certPem });
const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => void rig.ledger.receipts(Number(line)).then(() => say(told())));
lines.on("close", () => process.exit());
