import { randomBytes } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { equal } from "../../src/domain/bytes.ts";
import { CodecError } from "../../src/domain/canonical.ts";
import { Chain, newChainState } from "../../src/domain/chain.ts";
import type { Crypto } from "../../src/domain/crypto.ts";
import { IntentBody } from "../../src/domain/intent.ts";
import { recoveryTail } from "../../src/domain/limits.ts";
import { type Clock, systemClock } from "../../src/native/clock.ts";
import { native } from "../../src/native/crypto.ts";
import { holdFolder } from "../../src/native/hold.ts";
import { idGenerator } from "../../src/native/ids.ts";
import type { Seed } from "../../src/native/keys.ts";
import { LEDGER_FORMAT, upgradeFormat } from "../../src/storage/format.ts";
import { type Broken, checkLedger, tailFrom } from "../../src/storage/ledger-check.ts";
import { openLedgerRows } from "../../src/storage/ledger-folder.ts";
import { type LedgerState, type LedgerStore, ledgerStore } from "../../src/storage/ledger-store.ts";
import { PayloadKeys } from "../../src/storage/payload-keys.ts";
import { StorageFailed } from "../../src/storage/store.ts";
import { Intent } from "./intent.ts";
import { Ledger } from "./ledger.ts";
import { type Refusals, refusalsIn } from "./refusals.ts";
import { saltPool } from "./salts.ts";
import { type BatchSigner, workerSigner } from "./signer.ts";
import type { WorkLedger } from "./work-ledger.ts";

/** What the genesis says of a ledger. */
export interface LedgerIdentity {
  /** ref(genesis), 32 bytes. */
  readonly ledgerId: Uint8Array;
  readonly tenantId: string;
  /** As measured now, 32 bytes: LIFECYCLE receipts name it. */
  readonly manifestHash: Uint8Array;
}

export interface WorkLedgerOptions extends LedgerIdentity {
  /** The ledger's own, made if it is missing; its parent must exist. */
  readonly folder: string;
  /** Of the ledger key that the genesis binds. It goes to the signing worker. */
  readonly seed: Seed;
  readonly clock?: Clock;
}

/**
 * Opens the ledger in a folder, or begins it: takes the folder for this process, verifies what is
 * stored, closes every intent that a crash left open as INDETERMINATE, and writes a LIFECYCLE receipt
 * (`boot` the first time, then `restart`, or `recovery` if there was something to close). What
 * resolves is ready for work.
 *
 * @throws FolderHeld when another process has it, StorageFailed when it cannot be read or written,
 * FormatUnknown when a newer release wrote it, LedgerBroken when what is stored is not what this ledger's key signed.
 */
export async function openWorkLedger(options: WorkLedgerOptions): Promise<WorkLedger> {
  const { folder, seed, clock = systemClock } = options;
  await mkdir(folder, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
  });
  // Undone in reverse order, whether opening fails or the ledger is shut down.
  const opened = new AsyncDisposableStack();
  try {
    const hold = holdFolder(folder);
    opened.defer(() => hold.release());
    const refusals = refusalsIn(folder);
    opened.defer(() => refusals.close());
    const rows = await openLedgerRows(folder);
    const store = ledgerStore(rows, PayloadKeys.open(folder));
    opened.defer(() => store.close());
    await upgradeFormat(rows, LEDGER_FORMAT);
    const signer = await workerSigner(seed);
    opened.defer(() => signer.close());
    const release = (): Promise<void> => opened.disposeAsync();
    return await startLedger(options, { clock, store, signer, refusals, release });
  } catch (error) {
    await opened.disposeAsync();
    throw error;
  }
}

/** What is stored cannot be continued: not by this key, or not at all. */
export class LedgerBroken extends Error {
  override readonly name = "LedgerBroken";
}

export interface LedgerMeans {
  readonly clock: Clock;
  readonly store: LedgerStore;
  readonly signer: BatchSigner;
  readonly refusals: Refusals;
  readonly release: () => Promise<void>;
  readonly crypto?: Crypto;
  readonly random?: (n: number) => Uint8Array;
}

/** Verifies, recovers and starts a ledger on means that are given. */
export async function startLedger(
  identity: LedgerIdentity,
  { clock, store, signer, refusals, release, crypto = native, random = randomBytes }: LedgerMeans,
): Promise<WorkLedger> {
  const { ledgerId, tenantId, manifestHash } = identity;
  const stored = verified(crypto, store, identity, signer.publicKey);
  const lastId = stored?.lastId ?? "";
  const ledger = new Ledger({
    crypto,
    clock,
    store,
    signer,
    refusals,
    release,
    ids: idGenerator({
      nowMs: () => Math.floor(clock.nowUs() / 1000),
      above: lastId === "" ? undefined : lastId,
    }),
    salt: saltPool(random),
    chain: new Chain(crypto, stored ?? newChainState(ledgerId, tenantId)),
    acknowledgedSeq: stored?.acknowledgedSeq ?? 0,
    lastId,
    manifestHash,
  });
  const found = { grantRef: null, monotonicUs: clock.monotonicUs(), listens: false };
  const left = store.intents().map(({ body }) => {
    return new Intent(crypto, ledgerId, IntentBody.decode(body), found);
  });
  await ledger.recover(left, stored === null ? "boot" : left.length > 0 ? "recovery" : "restart");
  return ledger;
}

/** The stored state, after a look at the tail of the chain. */
function verified(
  crypto: Crypto,
  store: LedgerStore,
  { ledgerId, tenantId }: LedgerIdentity,
  ledgerKey: Uint8Array,
): LedgerState | null {
  let stored: LedgerState | null;
  let broken: Broken | null;
  try {
    stored = store.state();
    if (stored !== null && (!equal(stored.ledgerId, ledgerId) || stored.tenantId !== tenantId)) {
      throw new LedgerBroken("this folder holds the ledger of another genesis");
    }
    const from = tailFrom(stored?.size ?? 0, recoveryTail);
    broken = checkLedger(crypto, store, { ledgerId, ledgerKey }, from);
  } catch (error) {
    // A row that is missing or does not decode.
    if (!(error instanceof CodecError || error instanceof StorageFailed)) throw error;
    throw new LedgerBroken(error.message, { cause: error });
  }
  if (broken !== null) throw new LedgerBroken(`receipt ${broken.seq}: ${broken.detail}`);
  return stored;
}
