import { toHex } from "../../domain/bytes.ts";
import { isInvalid } from "../../domain/invalid.ts";
import type { PayloadField } from "../../domain/payload.ts";
import { encodeSigned } from "../../domain/signing.ts";
import { native } from "../../native/crypto.ts";
import { exportPack, type LaterEvidence } from "../../verifier/export.ts";
import { mergePacks } from "../../verifier/join.ts";
import { surveyPack } from "../../verifier/survey.ts";
import { fromWire } from "../../wire/artifacts.ts";
import type { Control, SidecarClient } from "../client.ts";
import { EXIT, Failure, Unreachable } from "../failure.ts";
import { openRecords } from "./control-records.ts";
import { type Exported, joined, packOf } from "./export.ts";
import { HeldReceipts } from "./held-receipts.ts";
import { type Born, HeldRecords } from "./held-records.ts";
import { type Aside, bytesOf, made, writeStream } from "./pack-file.ts";

/** What is asked of a control plane. */
export interface ExportHeld {
  /** The pack's file. */
  readonly out: string;
  /** `NAME`, `INSTANCE` or `NAME/INSTANCE`; null: every organism of the tenant, and all that was recorded. */
  readonly organism: string | null;
  /** The sidecar of this machine, for the ledger that it has; null: none is asked. */
  readonly sidecar?: SidecarClient | null;
  /** What of that ledger's payloads is laid open; none: all. */
  readonly disclose?: readonly PayloadField[];
}

interface Held {
  readonly receipts: HeldReceipts;
  /** None, or one. */
  readonly beat: readonly Uint8Array[];
}

/** What was written. */
export interface HeldExported extends Exported {
  /** How many ledgers of organisms are in it. */
  readonly ledgers: number;
  /** Ids, hex, of those of which no receipt is held, or hashes alone. */
  readonly unheld: readonly string[];
  /** The id of the one that the sidecar gave, with its payloads; null: it has none of them. */
  readonly own: string | null;
}

/**
 * Writes a pack of what a control plane holds: of each ledger the receipts that came by sync, headers without
 * payloads, under the leases that were recorded; and the control plane's own ledger, with states and heartbeats.
 * The ledger that the sidecar of this machine has is its own export, payloads and all.
 * Ledgers are taken up one by one; receipts and leases lie in files meanwhile.
 * @throws Failure, refused, when there is no such organism.
 */
export async function exportHeld(
  control: Control,
  { out, organism, sidecar = null, disclose = [] }: ExportHeld,
): Promise<HeldExported> {
  return made(out, async (aside) => {
    const records = await HeldRecords.create(aside("leases"));
    const held = new Map<Born, Held>();
    try {
      await follow(control, records);
      const wanted = records.ledgers.filter((born) => organism === null || isNamed(born, organism));
      if (organism !== null && wanted.length === 0) throw unknown(organism, control);
      const here = sidecar && (await ledgerOf(sidecar));
      const own = wanted.find(({ id }) => id === here)?.id ?? null;
      for (const [i, born] of wanted.entries()) {
        if (born.id === own) continue;
        // Before its receipts, so that they reach as far as it does.
        const beat = await lastBeat(control, born);
        const receipts = await HeldReceipts.fetch(control, born.ledgerId, aside(`receipts.${i}`));
        if (receipts !== null) held.set(born, { receipts, beat });
      }
      // What was leased meanwhile is cited by what came meanwhile.
      await follow(control, records);
      const ledgers = [...held].map(([born, its]) => evidenceOf(records, born, its));
      const packs: AsyncIterable<Uint8Array>[] = [exportPack(native, control.tenant, ledgers)];
      if (sidecar !== null && own !== null) packs.push(packOf(sidecar, { disclose }));
      const pack = aside("pack");
      const count = held.size + packs.length - 1;
      await writeStream(pack, mergePacks(control.tenant, count, packs));
      const from = organism === null ? 1 : Math.min(...wanted.map(({ seq }) => seq));
      const { path, result } = await beside(control, pack, from, organism === null, aside);
      const missing = wanted.filter((born) => !held.has(born) && born.id !== own);
      const unheld = missing.map(({ id }) => id);
      return { path, result: { ...result, ledgers: count, unheld, own } };
    } finally {
      await records.close();
      for (const { receipts } of held.values()) await receipts.close();
    }
  });
}

/** Everything that was recorded since the last one that is known. */
async function follow(control: Control, records: HeldRecords): Promise<void> {
  const fromSeq = Math.max(1, records.last);
  for await (const { seq, row } of openRecords(control, { fromSeq })) await records.take(seq, row);
}

async function beside(control: Control, pack: string, fromSeq: number, all: boolean, aside: Aside) {
  const { sections } = await surveyPack(native, bytesOf(pack));
  const open = all ? "ALL" : "THEIRS";
  return joined(control, pack, { fromSeq }, { sections, open }, aside);
}

function isNamed({ name, body }: Born, organism: string): boolean {
  const { instanceId } = body;
  return [name, instanceId, `${name}/${instanceId}`].includes(organism);
}

/** The id, hex, of the ledger that a sidecar has; null: it does not answer. */
async function ledgerOf({ evidence }: SidecarClient): Promise<string | null> {
  try {
    return toHex((await evidence.getStatus({})).ledgerId);
  } catch (error) {
    if (error instanceof Unreachable) return null;
    throw error;
  }
}

/** SignedBytes of the latest beat of an instance: it speaks for the lease in hand, and all before it. */
async function lastBeat({ organisms }: Control, { body }: Born): Promise<Uint8Array[]> {
  const { pulse } = await organisms.getOrganism({ instanceId: body.instanceId });
  const signed = pulse?.heartbeat === undefined ? null : fromWire(pulse.heartbeat, "heartbeat");
  return signed === null || isInvalid(signed) ? [] : [encodeSigned(signed)];
}

const evidenceOf =
  (records: HeldRecords, born: Born, { receipts, beat }: Held): LaterEvidence =>
  async () => ({
    ...(await records.authorityOf(born)),
    genesis: born.genesis,
    // Those that states rest on, and the states, come with the records.
    heartbeats: beat,
    transitions: [],
    // A control plane has no ledger's key to begin a note with: its heads stand in its own ledger.
    checkpoints: [],
    openIntents: [],
    head: { size: receipts.size, intentsOpened: receipts.intentsOpened },
    read: (fromSeq, limit) => receipts.read(fromSeq, limit),
  });

const unknown = (organism: string, { address, tenant }: Control): Failure =>
  new Failure(
    EXIT.refused,
    `--organism: control plane ${address} has none ${organism} in tenant ${tenant}; dragons organism list tells names and instances`,
  );
