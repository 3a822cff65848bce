import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { toHex } from "../../src/domain/bytes.ts";
import { PayloadRow } from "../../src/domain/payload.ts";
import { ReceiptHeader } from "../../src/domain/receipt.ts";
import { encodeSigned } from "../../src/domain/signing.ts";
import { EvidenceService } from "../../src/gen/dragons/v1/evidence_pb.ts";
import { storedToWire, toWire } from "../../src/wire/artifacts.ts";
import { openServer, type RpcServer, serve } from "../../src/wire/grpc.ts";
import type { Handlers } from "../../src/wire/rpc.ts";
import { StatusError } from "../../src/wire/status.ts";
import { goodStory, type Story } from "../verifier/build.ts";
import { Terminal } from "./terminal.ts";

/** Commands that ask a sidecar, on its socket, about a ledger whose every receipt is known. */

const VERIFIERS = join(import.meta.dirname, "../../verifiers");

let terminal: Terminal;
let story: Story;
let server: RpcServer;
/** What the sidecar exports, and what befalls it after that. */
let exported: { chunks: Uint8Array[]; fault: StatusError | null };
let fault: { fault: string; faultSeq: bigint };

const LIMITS = {
  messageBytesMax: 1 << 22,
  streamsPerConnectionMax: 8,
  sessionMemoryMb: 8,
  idleUs: 60_000_000,
  ageUs: 60_000_000,
  ageGraceUs: 1_000_000,
  keepaliveUs: 60_000_000,
  keepaliveTimeoutUs: 1_000_000,
};

beforeAll(async () => {
  terminal = await Terminal.open();
  story = await goodStory();
  await mkdir("data");
  server = openServer({
    transport: null,
    limits: LIMITS,
    onFault: (error) => expect.fail(String(error)),
  });
  serve(server, EvidenceService, handlers());
  await server.listen(`unix:${terminal.path("data/admin.sock")}`);
});
afterAll(async () => {
  await server.close(0);
  await terminal.close();
});
beforeEach(async () => {
  exported = { chunks: [await story.pack()], fault: null };
  fault = { fault: "", faultSeq: 0n };
});

const entryOf = ({ seq, signed, row }: Story["receipts"][number]) => ({
  seq: BigInt(seq),
  receipt: storedToWire(encodeSigned(signed)),
  payload: row,
});
const idAt = (seq: number): string =>
  ReceiptHeader.decode((story.receipts[seq - 1] as Story["receipts"][number]).signed.body)
    .receiptId;

const AMENDMENT = `rcp_${"0".repeat(12)}7${"0".repeat(3)}8${"0".repeat(15)}`;
let amended = "";

function handlers(): Handlers<typeof EvidenceService> {
  return {
    async getStatus() {
      return { tenantId: story.tenantId, ledgerId: story.ledgerId, size: 5n, standing: 1 };
    },
    // Two a page, so that there are pages.
    async listEntries({ fromSeq }) {
      const from = Number(fromSeq) || 1;
      const page = story.receipts.slice(from - 1, from + 1);
      const next = from + 2 > story.receipts.length ? 0 : from + 2;
      return { entries: page.map(entryOf), nextSeq: BigInt(next) };
    },
    async getEntry({ receiptId }) {
      const found = story.receipts.find(
        (r) => ReceiptHeader.decode(r.signed.body).receiptId === receiptId,
      );
      if (found === undefined) {
        throw new StatusError(
          "NOT_FOUND",
          "NO_SUCH_OBJECT",
          `receipt_id: no receipt ${receiptId} here`,
        );
      }
      const { leaseRef } = ReceiptHeader.decode(found.signed.body);
      const lease = story.leases.find((l) => toHex(l.ref) === toHex(leaseRef));
      return {
        entry: entryOf(found),
        ...(lease === undefined ? {} : { lease: toWire(lease.signed) }),
        grant: toWire(story.grant),
        manifest: story.manifestBytes,
      };
    },
    async checkLedger() {
      const { size, root } = story.chain.head();
      return { size: BigInt(size), root, openIntents: 0n, ...fault };
    },
    async correct({ receiptId, text }) {
      amended = `correct ${receiptId}: ${text}`;
      return { receiptId: AMENDMENT };
    },
    async redact({ receiptId, fields, reason }) {
      amended = `redact ${receiptId} ${fields.join("+")}: ${reason}`;
      return { receiptId: AMENDMENT };
    },
    async *export() {
      for (const chunk of exported.chunks) yield { chunk };
      if (exported.fault !== null) throw exported.fault;
    },
  };
}

const ask = (...words: string[]) => terminal.dragons(...words, "--sidecar", "data");

test("one way to choose what a pack shows, not two", async () => {
  const both = await ask("evidence", "export", "--from", "1", "--lease", "lse_1");
  expect(both).toMatchObject({ code: 64 });
  expect(both.err).toContain("--from and --to, --lease with --since and --until, or --receipt");
});

describe("receipt correct and redact", () => {
  test("ask the sidecar, and print the id of the receipt that says so", async () => {
    const id = idAt(2);
    const reason = ["--reason", "entered twice"];
    const corrected = await ask("receipt", "correct", id, ...reason, "-o", "name");
    expect(corrected).toMatchObject({ code: 0, out: `${AMENDMENT}\n` });
    expect(amended).toBe(`correct ${id}: entered twice`);
    const redacted = await ask("receipt", "redact", id, "--fields", "claim, goal", ...reason);
    expect(redacted.err).toContain(`erased from ${id}: claim, goal`);
    expect(amended).toBe(`redact ${id} claim+goal: entered twice`);
    expect(await ask("receipt", "redact", id)).toMatchObject({ code: 64 });
  });
});

describe("why", () => {
  test("an action that was allowed names its scope, rule, lease, grant and signers", async () => {
    const { code, out } = await ask("why", idAt(2));
    expect(code).toBe(0);
    expect(terminal.plain(out)).toMatchInlineSnapshot(`
      "receipt  rcp_…, number 2, <time>
      asked  payments.v1.Payments/GetPayment at payments.internal:443
      answer  COMPLETED
      because  read:payments allowed it by a lease that held until <time>
      rule  read:payments: grpc payments.v1.Payments/{Get,List}* at payments.internal:443
      read  nothing
      lease  lse_…: read:payments
      grant  grt_…: reconcile payments
      granted by  <64 hex>
      manifest  reconciler@v7, <64 hex>
      signed by  <64 hex>; the signature verifies
      "
    `);
  });

  test("a denial names the clause that failed, and what would allow it", async () => {
    const { code, out, err } = await ask("why", idAt(5));
    expect(code).toBe(0);
    expect(terminal.plain(`${out}${err}`)).toMatchInlineSnapshot(`
      "receipt  rcp_…, number 5, <time>
      asked  payments.v1.Payments/Refund at payments.internal:443
      answer  DENIED (SCOPE_NOT_GRANTED)
      because  payments.v1.Payments/Refund at payments.internal:443 is in no scope of the manifest; read:payments comes nearest
      rule  none
      read  nothing
      lease  lse_…: read:payments
      grant  grt_…: reconcile payments
      granted by  <64 hex>
      manifest  reconciler@v7, <64 hex>
      signed by  <64 hex>; the signature verifies

      what would allow it:
      # in dragon.yaml, with a new version:
      capabilities:
        write:payments:
          - grpc: payments.v1.Payments/Refund
            at: payments.internal:443
      # then:
      dragons manifest record dragon.yaml
      dragons grant create --manifest dragon.yaml --scope read:payments --scope write:payments --unlimited --purpose "allow payments.v1.Payments/Refund"
      "
    `);
  });

  test("a boot has no claim, and it says so", async () => {
    const { code, out } = await ask("why", idAt(1));
    expect(code).toBe(0);
    expect(out).toContain("it cannot be decided again");
  });

  test("an opening that is not what the receipt committed to is refused", async () => {
    const receipt = story.receipts[4] as Story["receipts"][number];
    const row = PayloadRow.decode(receipt.row);
    const claim = row.openings[4] as (typeof row.openings)[number];
    const forged = Uint8Array.from(claim.data);
    forged[forged.length - 1] = 0x21;
    const openings = row.openings.with(4, { ...claim, data: forged });
    story.receipts[4] = { ...receipt, row: PayloadRow.encode({ ...row, openings }) };
    const { code, err } = await ask("why", idAt(5));
    story.receipts[4] = receipt;
    expect(code).toBe(2);
    expect(err).toContain("E_OPENING_MISMATCH");
  });

  test("1 for a receipt that is not there", async () => {
    expect(await ask("why", "rcp_0")).toMatchObject({
      code: 1,
      err: "dragons: receipt_id: no receipt rcp_0 here (NO_SUCH_OBJECT)\n",
    });
  });
});

describe("receipt", () => {
  test("list goes through every page, with what was asked", async () => {
    const { out } = await ask("receipt", "list");
    expect(terminal.plain(out)).toMatchInlineSnapshot(`
      "RECEIPT  SEQ  KIND  VERDICT  REASON  SCOPE  OPENED  ACTION
      rcp_…  1  lifecycle  completed  -  -  <time>  -
      rcp_…  2  action  completed  -  read:payments  <time>  payments.v1.Payments/GetPayment at payments.internal:443
      rcp_…  3  action  completed  -  read:payments  <time>  payments.v1.Payments/Search at payments.internal:443
      rcp_…  4  action  completed  -  read:payments  <time>  payments.v1.Payments/GetPayment at payments.internal:443
      rcp_…  5  denial  denied  SCOPE_NOT_GRANTED  -  <time>  payments.v1.Payments/Refund at payments.internal:443
      "
    `);
    const names = (await ask("receipt", "list", "-o", "name")).out.trim().split("\n");
    expect(names).toEqual([1, 2, 3, 4, 5].map(idAt));
  });

  test("list shows one verdict, and no more than asked for", async () => {
    const denied = await ask("receipt", "list", "--verdict", "denied", "-o", "name");
    expect(denied.out).toBe(`${idAt(5)}\n`);
    const two = await ask("receipt", "list", "--limit", "2", "-o", "name");
    expect(two.out).toBe(`${idAt(1)}\n${idAt(2)}\n`);
  });

  test("--central asks the control plane, though a sidecar is set", async () => {
    const { code, err } = await ask("receipt", "list", "--central");
    expect(code).toBe(78);
    expect(err).toMatch(/^dragons: tenant is not set/);
  });

  test("--instance and --ledger ask it too: the sidecar has one ledger, which may be another", async () => {
    for (const of of ["--instance", "--ledger"]) {
      const { code, out, err } = await ask("receipt", "list", of, "0".repeat(64));
      expect({ code, out }).toEqual({ code: 78, out: "" });
      expect(err).toMatch(/^dragons: tenant is not set/);
    }
  });

  test("show lays open what the tenant kept", async () => {
    const { out } = await ask("receipt", "show", idAt(2));
    expect(terminal.plain(out)).toMatchInlineSnapshot(`
      "receipt  rcp_…
      seq  2
      kind  action
      verdict  completed
      reason  -
      scope  read:payments
      opened  <time>
      closed  <time>
      last byte  <time>
      ledger  <64 hex>
      lease  <64 hex>
      manifest  <64 hex>
      signed by  <64 hex>
      goal  reconcile payments
      claim  grpc payments.v1.Payments/GetPayment at payments.internal:443
      action  1 message, 0 bytes out
      evidence  dialled HOST:PORT
      outcome  grpc-status: 0; 1 message, 0 bytes back
      "
    `);
    const json = JSON.parse((await ask("receipt", "show", idAt(2), "-o", "json")).out);
    expect(json).toMatchObject({
      seq: 2,
      verdict: "COMPLETED",
      contents: { goal: { purpose: "reconcile payments" }, outcome: { status: "grpc-status: 0" } },
    });
  });
});

describe("ledger check", () => {
  test("0 when it is whole", async () => {
    const { code, out } = await ask("ledger", "check");
    expect(code).toBe(0);
    expect(out).toMatch(/^ledger {8}whole\n/);
  });

  test("2 when it is not, with where", async () => {
    fault = { fault: "its signature does not verify", faultSeq: 3n };
    const { code, out } = await ask("ledger", "check");
    expect(code).toBe(2);
    expect(out).toContain("BROKEN at receipt 3: its signature does not verify");
  });
});

/** No control plane is set here. */
const LEFT_OUT =
  "dragons: left out: the control plane's own ledger of the tenant (none is set): changes of state are not shown, and nothing says that leases were recorded";

describe("evidence export", () => {
  test("the pack comes whole, and verifies", async () => {
    const pack = await story.pack();
    exported = { chunks: [pack.subarray(0, 100), pack.subarray(100)], fault: null };
    const { code, err } = await ask("evidence", "export", "--out", "whole.dragons");
    expect(code).toBe(0);
    expect(err).toBe(`${LEFT_OUT}\n`);
    expect(new Uint8Array(await readFile("whole.dragons"))).toEqual(pack);
  });

  test("a stream that breaks off leaves no half file, and the old one as it was", async () => {
    await writeFile("kept.dragons", "the pack of yesterday");
    const before = (await readdir(".")).sort();
    const broke = new StatusError(
      "UNAVAILABLE",
      "LEDGER_UNAVAILABLE",
      "the ledger is not readable",
    );
    exported = { chunks: [(await story.pack()).subarray(0, 100)], fault: broke };
    const { code, err } = await ask("evidence", "export", "--out", "kept.dragons");
    expect(code).toBe(69);
    expect(err).toBe("dragons: the ledger is not readable (LEDGER_UNAVAILABLE)\n");
    expect((await readdir(".")).sort()).toEqual(before);
    expect(await readFile("kept.dragons", "utf8")).toBe("the pack of yesterday");
  });

  test("--with-page puts the released page beside it, and says whom to take it from", async () => {
    exported = { chunks: [await story.pack()], fault: null };
    const { code, out, err } = await ask("evidence", "export", "--out", "p.dragons", "--with-page");
    expect(code).toBe(0);
    expect(out).toMatch(/^page .*auditor\.html$/m);
    const published = await readFile(join(VERIFIERS, "SHA256SUMS"), "utf8");
    const sha256 = createHash("sha256")
      .update(await readFile("auditor.html"))
      .digest("hex");
    expect(published).toContain(`${sha256}  page/auditor.html\n`);
    expect(err).toBe(
      `${LEFT_OUT}\ndragons: an auditor trusts no page that comes with a pack: theirs is from a release, and its SHA-256 is ${sha256}\n`,
    );
  });

  test("64 for a file that cannot be written", async () => {
    const { code, err } = await ask("evidence", "export", "--out", "no/such/folder/pack");
    expect(code).toBe(64);
    expect(err).toMatch(/^dragons: --out: ENOENT.*\n$/);
  });

  test("64 where a view of the control plane is asked for what only a sidecar has", async () => {
    const part = await ask("evidence", "export", "--whole-tenant", "--from", "3");
    expect([part.code, part.err]).toEqual([
      64,
      "dragons: --organism, --whole-tenant: whole ledgers, with the control plane's own; a part of one is exported from its sidecar\n",
    ]);
    const both = await ask("evidence", "export", "--whole-tenant", "--organism", "reconciler");
    expect([both.code, both.err]).toEqual([
      64,
      "dragons: --organism or --whole-tenant: one of them\n",
    ]);
  });

  test("64 for a field that no receipt has", async () => {
    const { code, err } = await ask("evidence", "export", "--disclose", "goal,secret");
    expect(code).toBe(64);
    expect(err).toMatch(/^dragons: --disclose: secret is none of goal, action/);
  });
});

describe("sidecar status", () => {
  test("says whether authority is held, and why not", async () => {
    const { code, out } = await ask("sidecar", "status");
    expect(code).toBe(0);
    expect(out).toMatch(/authority {2}none: NO_LEASE/);
  });

  test("69 when no sidecar runs there", async () => {
    const { code, err } = await terminal.dragons("sidecar", "status", "--sidecar", "nowhere");
    expect(code).toBe(69);
    expect(err).toMatch(/^dragons: sidecar at nowhere\/admin\.sock cannot be reached: .*\n$/);
  });
});
