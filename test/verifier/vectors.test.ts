import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { fromHex, utf8 } from "../../src/domain/bytes.ts";
import { ReceiptHeader } from "../../src/domain/receipt.ts";
import { native } from "../../src/native/crypto.ts";
import { once } from "../../src/verifier/pack.ts";
import { exitCodeOf } from "../../src/verifier/report.ts";
import { tamper } from "../../src/verifier/tamper.ts";
import { isTrustFault, parseTrustFile } from "../../src/verifier/trust-file.ts";
import { verify } from "../../src/verifier/verify.ts";
import { makeVectors } from "../vectors/make.ts";

type Vectors = Awaited<ReturnType<typeof makeVectors>>;
const d1 = JSON.parse(
  readFileSync(new URL("../vectors/d1.json", import.meta.url), "utf8"),
) as Vectors;

test("what this code writes is what the vectors say, to the byte", async () => {
  expect(JSON.parse(JSON.stringify(await makeVectors()))).toEqual(d1);
});

test("the verdicts of the vectors come out with their codes and indexes", async () => {
  const source = JSON.stringify({ format: "dragons trust 0", ...d1.trust });
  const trust = parseTrustFile(native, source);
  if (isTrustFault(trust)) throw new Error(trust.fix);
  for (const { change, ...wanted } of d1.verdicts) {
    const pack = fromHex(d1.pack);
    const changed = change === null ? pack : tamper(pack, change.at);
    const report = await verify(native, once(changed), { trust, nowUs: 0 });
    const said = { verdict: report.verdict, exit: exitCodeOf(report) };
    const where = report.broken && { code: report.broken.code, index: report.broken.index };
    expect({ ...said, ...where }).toEqual(wanted);
  }
});

test("chain and prefixes are what docs/formats.md spells out", () => {
  const hashes = d1.receipts.map((r) => native.sha256(Uint8Array.of(0), fromHex(r.pae)));
  let before = fromHex(d1.objects.genesis.ref);
  for (const [i, r] of d1.receipts.entries()) {
    expect(fromHex(r.hash)).toEqual(hashes[i]);
    expect(ReceiptHeader.decode(fromHex(r.body)).prevHash).toEqual(before);
    before = fromHex(r.hash);
    const commitments = r.commitments.map(fromHex);
    const payload = native.sha256(utf8("dragons/v1/payload\n"), ...commitments);
    expect(payload).toEqual(fromHex(r.payloadHash));
  }
  const genesis = native.sha256(utf8("dragons/v1/genesis-ref\n"), fromHex(d1.objects.genesis.pae));
  expect(genesis).toEqual(fromHex(d1.objects.genesis.ref));
  const manifest = native.sha256(utf8("dragons/v1/manifest\n"), fromHex(d1.objects.manifest.bytes));
  expect(manifest).toEqual(fromHex(d1.objects.manifest.hash));
});
