import { concat } from "../../src/domain/bytes.ts";
import { CodecError } from "../../src/domain/canonical.ts";
import { exportPack } from "../../src/verifier/export.ts";
import type { TrustFile } from "../../src/verifier/trust-file.ts";
import {
  type Act,
  collect,
  crypto,
  keyOf,
  SECOND,
  Story,
  search,
  type Twists,
} from "../verifier/build.ts";
import { type Piece, putTogether, takeApart } from "../verifier/frames.ts";
import { recordsBeside } from "./beside.ts";
import type { Random } from "./random.ts";

export interface Given {
  readonly how: string;
  readonly pack: Uint8Array;
  readonly trust: TrustFile | null;
  readonly nowUs: number;
}

/** A pack that nobody has seen before: a random ledger, something in it spoiled in one of several ways. */
export async function randomCase(random: Random): Promise<Given> {
  for (;;) {
    try {
      return await tryCase(random);
    } catch (error) {
      // Some values no encoder would write: then it is another one's turn.
      if (!(error instanceof CodecError)) throw error;
    }
  }
}

async function tryCase(random: Random): Promise<Given> {
  const way = random.of([
    "honest",
    "twisted",
    "twisted",
    "acts",
    "acts",
    "frames",
    "bytes",
  ] as const);
  const spoil: Twists = way === "twisted" ? twists(random) : {};
  const story = await tell(random, spoil, way === "acts");
  const { size } = story.chain.head();
  const from = random.oneIn(4) ? 1 + random.below(size) : 1;
  const to = random.oneIn(4) ? from + random.below(size - from + 1) : size;
  // What a control plane would have refused makes no states.
  let pack =
    random.oneIn(3) && spoil.heartbeat === undefined
      ? await besideRecords(random, story)
      : await story.pack({
          range: { from, to },
          ...(random.oneIn(5) && {
            disclose: random.of([[], ["claim"], ["claim", "outcome"]] as const),
          }),
        });
  if (way === "frames") pack = await reframed(random, pack);
  if (way === "bytes") pack = mutated(random, pack);
  return {
    how: way,
    pack,
    trust: trustOf(random, story),
    nowUs: story.nowUs + random.below(5) * SECOND,
  };
}

/** The whole ledger, and the control plane's own of the tenant. */
async function besideRecords(random: Random, story: Story): Promise<Uint8Array> {
  const { work, control } = await recordsBeside(random, story);
  const ledgers = [story.evidence(work), control];
  return collect(exportPack(crypto, story.tenantId, ledgers));
}

/** A ledger of some ten receipts, honest unless told otherwise. */
async function tell(random: Random, spoil: Twists, badActs: boolean): Promise<Story> {
  const limits = random.oneIn(3)
    ? { maxActions: 1 + random.below(8), maxBytes: 100, maxConcurrent: 2 }
    : undefined;
  const story = await Story.begin({ ...(limits && { limits }), ...spoil });
  await story.lifecycle();
  await story.lease();
  const open: (() => Promise<void>)[] = [];
  for (let step = 0; step < 4 + random.below(7); step++) {
    switch (random.below(9)) {
      case 0:
        open.push(story.begin(actOf(random, badActs)));
        break;
      case 1:
        if (open.length > 0) await open.splice(random.below(open.length), 1)[0]?.();
        break;
      case 2:
        await story.deny(random.of([{ path: "/payments.v1.Payments/Refund" }, search("8"), {}]), {
          reason: random.of(["SCOPE_NOT_GRANTED", "CONDITION_FALSE", "LEASE_EXPIRED"]),
        });
        break;
      case 3:
        await story.beat();
        break;
      case 4:
        story.tick(random.below(70) * SECOND);
        await story.lease(badActs && random.oneIn(3) ? (b) => altered(random, b) : undefined);
        break;
      case 5:
        await story.checkpoint();
        break;
      case 6:
        await story.lifecycle(random.oneIn(3) ? reference(random, story) : {});
        break;
      default:
        await story.act(actOf(random, badActs));
    }
  }
  if (!random.oneIn(6)) await story.checkpoint();
  return story;
}

function reference(random: Random, story: Story) {
  const kind = random.of(["CORRECTION", "REDACTION"] as const);
  return {
    kind,
    refersTo: random.of(story.receipts).hash,
    leaseRef: story.leaseRef,
    redactedMask: kind === "REDACTION" ? random.below(33) : 0,
  };
}

function actOf(random: Random, bad: boolean): Act {
  const act: Act = { bytes: random.below(60), ...random.of([{}, {}, search("7"), search("8")]) };
  if (!bad || !random.oneIn(3)) return act;
  const plain = act.claim;
  return random.of<Act>([
    { ...act, header: (d) => altered(random, d) },
    { ...act, claim: (c) => altered(random, plain?.(c) ?? c) },
    { ...act, evidence: (e) => altered(random, e) },
    { ...act, egressLastUs: 1_795_000_000_000_000 + random.below(200) * SECOND },
    { ...act, openedAtUs: 1_795_000_000_000_000 + random.below(200) * SECOND },
  ]);
}

const TWISTED = ["keyset", "manifest", "grant", "dock", "genesis", "lease", "heartbeat"] as const;

/** One body is altered before it is signed; or somebody signs who must not. */
function twists(random: Random): Twists {
  const stranger = keyOf(random.of(["root", "operator", "issuer", "join", "ledger", "mallory"]));
  const revoked = (kind: "GRANT" | "KEY" | "TENANT" | "RESUME" | "LEASE") => ({
    body: {
      kind,
      ...(kind === "TENANT" || kind === "RESUME" ? { target: new Uint8Array(0) } : {}),
    },
    signer: random.oneIn(5) ? stranger : keyOf(kind === "LEASE" ? "issuer" : "operator"),
  });
  switch (random.below(10)) {
    case 0:
      return { keysetSigner: stranger };
    case 1:
      return { grantSigners: [stranger] };
    case 2:
      return { genesisSigners: [keyOf("join"), stranger] };
    case 3:
      return { leaseSigner: stranger };
    case 4:
      return {
        revocations: [revoked(random.of(["GRANT", "KEY", "TENANT"])), revoked("RESUME")],
        lease: (b) => ({ ...b, revocationEpoch: random.below(3) }),
      };
    default: {
      const what = random.of(TWISTED);
      return { [what]: (body: object) => altered(random, body) };
    }
  }
}

/** The same body, one of its values another one of its kind. */
function altered<T extends object>(random: Random, body: T): T {
  const copy: Record<string, unknown> = { ...(body as Record<string, unknown>) };
  const name = random.of(Object.keys(copy));
  copy[name] = otherValue(random, copy[name], copy);
  return copy as T;
}

function otherValue(random: Random, value: unknown, beside: object): unknown {
  if (typeof value === "number") {
    const alike = Object.values(beside).filter((v): v is number => typeof v === "number");
    const near = [value + 1, Math.max(0, value - 1), 0, 1, random.of(alike), value * 2];
    return Math.min(random.of(near), Number.MAX_SAFE_INTEGER);
  }
  if (typeof value === "string") {
    return random.of([`${value}x`, value.slice(0, -1), "", value.toUpperCase(), value]);
  }
  if (value instanceof Uint8Array) {
    if (value.length === 0) return random.oneIn(2) ? new Uint8Array(32).fill(7) : value;
    const flipped = value.slice();
    const at = random.below(flipped.length);
    flipped[at] = (flipped[at] as number) ^ (1 << random.below(8));
    return random.of([flipped, new Uint8Array(0), new Uint8Array(32).fill(1)]);
  }
  if (Array.isArray(value)) {
    if (value.length === 0) return value;
    const at = random.below(value.length);
    const one = value[at] as unknown;
    const changed = typeof one === "object" ? otherValue(random, one, {}) : one;
    return random.of([
      value.toReversed(),
      value.slice(1),
      [...value, one],
      value.map((v, i) => (i === at ? changed : v)),
      value.map((v, i) => (i === at ? changed : v)),
    ]);
  }
  return typeof value === "object" && value !== null ? altered(random, value) : value;
}

/** Frames dropped, doubled or exchanged; their count is right. */
async function reframed(random: Random, pack: Uint8Array): Promise<Uint8Array> {
  const pieces: Piece[] = await takeApart(pack);
  for (let times = 0; times < 1 + random.below(2); times++) {
    const at = random.below(pieces.length);
    const one = pieces[at] as Piece;
    switch (random.below(4)) {
      case 0:
        pieces.splice(at, 1);
        break;
      case 1:
        pieces.splice(at, 0, one);
        break;
      case 2: {
        const other = random.below(pieces.length);
        pieces[at] = pieces[other] as Piece;
        pieces[other] = one;
        break;
      }
      default:
        pieces[at] = { kind: one.kind, body: mutated(random, one.body) };
    }
    if (pieces.length === 0) break;
  }
  return putTogether(pieces);
}

function mutated(random: Random, bytes: Uint8Array): Uint8Array {
  const at = random.below(bytes.length);
  const until = Math.min(bytes.length, at + random.below(40));
  switch (random.below(4)) {
    case 0:
      return concat(bytes.slice(0, at), bytes.slice(until));
    case 1:
      return concat(bytes.slice(0, at), random.bytes(1 + random.below(8)), bytes.slice(at));
    case 2:
      return bytes.slice(0, at);
    default: {
      const out = bytes.slice();
      if (out.length > 0) out[at] = (out[at] as number) ^ (1 << random.below(8));
      return out;
    }
  }
}

function trustOf(random: Random, story: Story): TrustFile | null {
  if (random.oneIn(20)) return null;
  const { size, root } = story.chain.head();
  const witness = { name: "witness", key: keyOf("cosigner").publicKey };
  return {
    ...story.trust,
    ...(random.oneIn(6) && { knownHead: { ledgerId: story.ledgerId, size, root } }),
    ...(random.oneIn(8) && {
      knownHead: { ledgerId: story.ledgerId, size: random.below(12), root: random.bytes(32) },
    }),
    ...(random.oneIn(8) && { witnesses: [witness], quorum: 1 }),
    ...(random.oneIn(8) && { cosigners: [keyOf("cosigner").publicKey] }),
    ...(random.oneIn(8) && { maxAgeUs: (1 + random.below(60)) * SECOND }),
    ...(random.oneIn(10) && { keysetVersion: 2 }),
  };
}
