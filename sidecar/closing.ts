import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseCheckpoint } from "../src/domain/checkpoint.ts";
import { fitHeartbeat, type HeartbeatBody } from "../src/domain/heartbeat.ts";
import { newId } from "../src/domain/ids.ts";
import { isInvalid } from "../src/domain/invalid.ts";
import { orphanUs } from "../src/domain/limits.ts";
import { Progress } from "../src/domain/progress.ts";
import type { Clock } from "../src/native/clock.ts";
import { native } from "../src/native/crypto.ts";
import { FolderHeld, holdFolder } from "../src/native/hold.ts";
import { idGenerator } from "../src/native/ids.ts";
import { SteadyClock } from "../src/native/steady-clock.ts";
import { ConfigError } from "./config.ts";
import { type Instance, reopenInstance } from "./identity/instance.ts";
import { KEEPER_HOLD } from "./keeper/words.ts";
import { type Memory, openMemory } from "./memory.ts";
import type { Report } from "./report.ts";
import { attachingLedger, controlClient } from "./tether/control-client.ts";
import { CosignedHeads } from "./tether/cosigned.ts";
import { heartbeat } from "./tether/heartbeat.ts";
import { spentUnder } from "./tether/spent.ts";
import type { Leaving } from "./tether/sync.ts";
import { type BeatOf, startTether, type TetherEvents } from "./tether/tether.ts";

/** A folder whose ledger is to be brought to its end. */
export interface Left {
  readonly dataFolder: string;
  readonly keysFolder: string;
  /** What leaves of each receipt; as it was while the ledger was at work. */
  readonly leaving: Leaving;
}

export interface ClosingMeans {
  readonly clock: Clock;
  readonly report: Report;
  /** Whoever closes has to end. */
  readonly stopped: AbortSignal;
}

/** Beside the ledger, once nothing of it is owed to anybody any more. */
const CLOSED = "closed";

export const noteClosed = (dataFolder: string): void =>
  writeFileSync(join(dataFolder, CLOSED), "", { mode: 0o600 });

/** A ledger that goes on is open again. */
export const noteOpen = (dataFolder: string): void =>
  rmSync(join(dataFolder, CLOSED), { force: true });

/**
 * Closes the ledger that a sidecar left behind: whatever a crash left open gets its receipt, by the
 * ledger's own key; all of it is delivered and countersigned; and the organism has ended, as one whose
 * end nobody saw (FAILED), unless it had before. No agent is started and no lease is taken up.
 *
 * Resolves when that is done. While the control plane cannot be reached it is tried again.
 * @throws FolderHeld while a sidecar or a keeper lives on it; ConfigError when it can never be done, or
 * `stopped` came first; and whatever opening a ledger throws.
 */
export async function closeLedger(left: Left, { report, clock, stopped }: ClosingMeans) {
  if (!cameAboard(left.dataFolder)) {
    throw new ConfigError(`${left.dataFolder}: no sidecar came aboard here: nothing to close`);
  }
  const opened = new AsyncDisposableStack();
  try {
    for (const name of [undefined, KEEPER_HOLD]) {
      const hold = holdFolder(left.dataFolder, name);
      opened.defer(() => hold.release());
    }
    const steady = new SteadyClock(clock);
    const instance = await reopenInstance(left, steady.nowUs());
    const { authority } = instance;
    const { dataFolder } = left;
    const memory = await openMemory({ dataFolder, opened }, instance, authority.manifestHash);
    await deliver(left, instance, memory, { clock: steady, report, stopped });
    noteClosed(dataFolder);
    const { instanceId } = authority.genesis.body;
    report("ledger closed", { instance: instanceId, receipts: memory.ledger.head().size });
  } finally {
    await opened.disposeAsync();
  }
}

/** Resolves once the control plane has countersigned everything, and has heard that no more will come. */
async function deliver(
  { leaving }: Left,
  instance: Instance,
  { ledger, leases }: Memory,
  { clock, report, stopped }: ClosingMeans & { readonly clock: SteadyClock },
): Promise<void> {
  const { authority, ledgerSigner, token } = instance;
  const whole = Promise.withResolvers<void>();
  const give = (why: string): void => whole.reject(new ConfigError(why));
  stopped.addEventListener("abort", () => give("was ended before the ledger was closed"));
  if (stopped.aborted) give("was ended before the ledger was closed");
  void ledger.failed.then((error) => whole.reject(error));
  const heads = new CosignedHeads(native, ledger.ledgerId, ledgerSigner);
  const cosigned = async (note: string): Promise<void> => {
    const complete = await heads.complete(note, authority.keyset.body);
    if (typeof complete !== "string") {
      report("rejected", { what: "checkpoint", detail: complete.detail });
      return;
    }
    const head = parseCheckpoint(`${complete.split("\n\n")[0]}\n`);
    if (!isInvalid(head) && head.size === ledger.head().size) whole.resolve();
  };
  const centre = controlClient(token);
  const tether = startTether({
    client: centre.tether(attachingLedger(authority, ledgerSigner), clock),
    authority,
    clock,
    ledger,
    ledgerSigner,
    leaving,
    lastLease: () => leases.entries().at(-1) ?? null,
    leaseLeft: () => 0,
    standing: () => ({ stopped: true }),
    chance: Math.random,
    beat: async (session) => {
      const body = beatOf(instance, ledger, clock, session);
      heads.remember(body);
      return fitHeartbeat(body);
    },
    events: {
      ...UNHEARD,
      refused: (why, reason) => {
        // Where it gave no reason it was not reached; later there may be a place for it.
        if (reason !== "" && reason !== "TOO_MANY_CALLS") give(why);
        else report("not attached", { why });
      },
      detached: (why) => report("detached", { why }),
      rejected: (what, detail) => report("rejected", { what, detail }),
      failed: (error) => whole.reject(error),
      cosigned: (note) => void cosigned(note),
    },
  });
  try {
    await whole.promise;
  } finally {
    await tether.stop();
    centre.close();
  }
}

/** What comes down concerns whoever acts, and here nobody does. */
const NOTHING = (): void => {};
const UNHEARD: TetherEvents = {
  attached: NOTHING,
  refused: NOTHING,
  detached: NOTHING,
  lease: NOTHING,
  keyset: NOTHING,
  revocation: NOTHING,
  directive: NOTHING,
  beaten: NOTHING,
  cosigned: NOTHING,
  withheld: NOTHING,
  failed: NOTHING,
  rejected: NOTHING,
};

/** The code of an end that nobody saw, as shells have it for what is out of their range. */
const UNSEEN = 255;

/** A beat of a ledger whose agent is gone, by an end that nobody saw. */
function beatOf(
  { authority }: Instance,
  ledger: Memory["ledger"],
  clock: SteadyClock,
  session: BeatOf,
): HeartbeatBody {
  const nowUs = clock.nowUs();
  return heartbeat({
    heartbeatId: newId("hbt", idGenerator()),
    tenantId: authority.genesis.body.tenantId,
    sessionEpoch: session.epoch,
    counter: session.counter,
    dueInUs: session.dueInUs,
    nowUs,
    monotonicUs: clock.monotonicUs(),
    suspendedUs: clock.suspendedUs(),
    loopLagUs: session.loopLagUs,
    agent: { state: () => "EXITED", exitCode: () => UNSEEN },
    enforcement: "ADVISORY",
    ledger,
    novelty: new Progress(native, randomBytes(32)).novelty(nowUs),
    lastProgressUs: 0,
    grantRef: authority.grant.ref,
    lease: null,
    autonomyLeftUs: 0,
    manifestHash: authority.manifestHash,
    directiveResults: [],
    spent: spentUnder(authority.grant, ledger, () => 0),
  });
}

const cameAboard = (dataFolder: string): boolean =>
  existsSync(join(dataFolder, "authority", "pin"));

/** Whether a ledger lies there that was not brought to its end. */
const isOpen = (dataFolder: string): boolean =>
  cameAboard(dataFolder) && !existsSync(join(dataFolder, CLOSED));

/**
 * Closes, one after the other, the ledgers in the folders of a folder whose sidecars are gone. Those
 * of the living are let be. What cannot be closed is told, and is tried again by whoever comes next.
 */
export async function closeOrphans(
  folder: string,
  { leaving, own }: { readonly leaving: Leaving; readonly own: string },
  { clock, report, stopped }: ClosingMeans,
): Promise<void> {
  for (const name of readdirSync(folder)) {
    const dataFolder = resolve(folder, name);
    if (stopped.aborted) return;
    if (dataFolder === resolve(own) || !isOpen(dataFolder)) continue;
    const late = new AbortController();
    const timer = clock.after(orphanUs, () => late.abort());
    try {
      const left = { dataFolder, keysFolder: `${dataFolder}.keys`, leaving };
      const signal = AbortSignal.any([stopped, late.signal]);
      await closeLedger(left, { clock, report, stopped: signal });
    } catch (error) {
      if (error instanceof FolderHeld) continue;
      report("orphan not closed", { folder: dataFolder, detail: (error as Error).message });
    } finally {
      timer.cancel();
    }
  }
}
