// Watches organisms, or receipts: a client of the control plane that has nothing of Dragons but its proto files.
//
//     node examples/watch/watch.mjs READY_FILE [--receipts | --denials]
//
// READY_FILE is what `dragons dev --ready-file` writes. Needs @grpc/grpc-js and @grpc/proto-loader. A
// stream that ends is resumed where it was.
import { createPrivateKey, createPublicKey, randomUUID, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as after } from "node:timers/promises";
import { parseArgs } from "node:util";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const { positionals, values: given } = parseArgs({
  allowPositionals: true,
  options: { receipts: { type: "boolean" }, denials: { type: "boolean" } },
});
const ready = JSON.parse(readFileSync(positionals[0], "utf8"));

/** A login: a JWT of ten minutes that the operator's own key signs. */
function token() {
  const seed = Buffer.from(readFileSync(ready.operatorKey, "utf8").trim(), "hex");
  const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
  const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  const { x } = createPublicKey(key).export({ format: "jwk" });
  const now = Math.floor(Date.now() / 1000);
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const head = { alg: "EdDSA", kid: Buffer.from(x, "base64url").toString("hex"), typ: "JWT" };
  const { operator, audience: aud, tenant } = ready;
  const claims = { iss: operator, sub: operator, aud, tenant, iat: now, exp: now + 600 };
  const signed = `${part(head)}.${part({ ...claims, jti: randomUUID() })}`;
  return `${signed}.${sign(null, Buffer.from(signed), key).toString("base64url")}`;
}

const proto = new URL("../../proto", import.meta.url).pathname;
const packages = loadSync(["dragons/v1/organism.proto", "dragons/v1/ledger.proto"], {
  includeDirs: [proto],
  keepCase: true,
  enums: String,
  longs: String,
  defaults: true,
});
const { LedgerService, OrganismService, ReceiptHeader } =
  grpc.loadPackageDefinition(packages).dragons.v1;
const credentials = grpc.credentials.createSsl(readFileSync(ready.controlCa));
// A network that breaks without a word ends no stream by itself.
const options = {
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.use_local_subchannel_pool": 1,
};
/** Milliseconds for a connection to come about: one on which TLS is not answered would be waited for without end. */
const CONNECTS_MS = 20_000;

/** A new connection each time. */
async function connected(Service) {
  const client = new Service(ready.control, credentials, options);
  const late = await new Promise((told) => client.waitForReady(Date.now() + CONNECTS_MS, told));
  if (late === undefined) return client;
  client.close();
  throw Object.assign(late, { code: grpc.status.UNAVAILABLE });
}

async function* organisms(resume, metadata) {
  const client = await connected(OrganismService);
  yield* client.Watch({ resume_token: resume }, metadata).on("close", () => client.close());
}

/** Receipts as they come to be held; of what was denied alone, if that is asked for. */
async function* receipts(resume, metadata) {
  const client = await connected(LedgerService);
  const verdict = given.denials ? "VERDICT_DENIED" : "VERDICT_UNSPECIFIED";
  const asked = { resume_token: resume, verdict };
  yield* client.WatchReceipts(asked, metadata).on("close", () => client.close());
}

/** One message in words: what it is, and whatever it tells of. */
function shown({ event, revision, organism, receipt }) {
  if (revision !== undefined) {
    const { instance_id: instance = "", state = "ORGANISM_STATE_UNSPECIFIED" } = organism ?? {};
    return [event, revision, instance, state];
  }
  if (receipt === null) return [event];
  // What is signed is bytes: the header is read from them.
  const header = ReceiptHeader.deserialize(receipt.body);
  const ledger = header.ledger_id.toString("hex");
  return [event, header.seq, ledger, header.verdict, header.reason, header.scope];
}

const watch = given.receipts || given.denials ? receipts : organisms;
for (let resume = ""; ; ) {
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${token()}`);
  try {
    for await (const told of watch(resume, metadata)) {
      console.log(shown(told).join(" "));
      // Within a snapshot there is none: a snapshot is whole, or begun anew.
      resume = told.resume_token || resume;
    }
  } catch (error) {
    if (error.code === grpc.status.OUT_OF_RANGE) {
      // The token is of another store, or too old: organisms are told anew, receipts from now on.
      console.error(`begins anew: ${error.details}`);
      resume = "";
    } else if (![grpc.status.UNAVAILABLE, grpc.status.RESOURCE_EXHAUSTED].includes(error.code)) {
      throw error;
    }
    // RESOURCE_EXHAUSTED: too much waited here unread, and is told again after the last that was read.
  }
  // The control plane ended, or is not there yet: nothing is lost meanwhile.
  await after(1000);
}
