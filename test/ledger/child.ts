/**
 * A ledger in a process of its own, for tests that kill, starve or lock it:
 *
 *     node test/ledger/child.ts FOLDER load|once|hold
 *
 * load: opens and closes until it is killed, and tells what it was promised, a line each:
 *       `intent N` once intent N is durable, `size N` once N receipts are durable and signed.
 * once: waits for a line on stdin, then tries one action, tells `opened` or `refused REASON MS`,
 *       and ends as the sidecar does: 70 when the ledger has failed.
 * hold: opens the ledger and keeps it until stdin ends.
 */

import { once } from "node:events";
import { writeSync } from "node:fs";
import { openWorkLedger } from "../../sidecar/ledger/open-ledger.ts";
import { LedgerUnavailable } from "../../sidecar/ledger/work-ledger.ts";
import { closing, draft, IDENTITY, seed } from "./fixture.ts";

const [folder, mode] = process.argv.slice(2) as [string, string];
/** Unbuffered: what is told was told, whatever happens next. */
const tell = (line: string): void => void writeSync(1, `${line}\n`);

process.on("unhandledRejection", (error) => {
  tell(`unhandled ${String(error)}`);
});

const ledger = await openWorkLedger({ ...IDENTITY, folder, seed }).catch((error: Error) => {
  tell(`cannot open: ${error.name}: ${error.message}`);
  process.exit(error.name === "FolderHeld" ? 75 : 70);
});
const { size, intentsOpened } = ledger.head();
tell(`ready ${size} ${intentsOpened}`);

if (mode === "load") {
  void Promise.all(Array.from({ length: 8 }, caller));
} else if (mode === "once") {
  await once(process.stdin, "data");
  const begun = performance.now();
  try {
    ledger.close(
      await ledger.open(draft({ goal: new Uint8Array(Number(process.argv[4] ?? 0)) })),
      closing(),
    );
    await ledger.flushed();
    tell("opened");
    await ledger.shutdown();
    process.exit(0);
  } catch (error) {
    if (!(error instanceof LedgerUnavailable)) throw error;
    tell(`refused ${error.reason} ${Math.round(performance.now() - begun)} ${error.message}`);
    await ledger.failed;
    process.exit(70);
  }
} else {
  process.stdin.resume();
  await once(process.stdin, "end");
  await ledger.shutdown();
  process.exit(0);
}

async function caller(_: unknown, which: number): Promise<never> {
  for (let n = 0; ; n++) {
    const intent = await ledger.open(draft());
    tell(`intent ${intent.intentSeq}`);
    ledger.close(intent, closing());
    if (n % 10 === which) {
      await ledger.flushed();
      tell(`size ${ledger.head().size}`);
    }
  }
}
