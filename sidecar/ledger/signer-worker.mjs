import { createPrivateKey, createPublicKey, sign } from "node:crypto";
import { parentPort, workerData } from "node:worker_threads";

// The thread behind `workerSigner`: tells its public key once, then answers batch for batch. It is plain
// JavaScript and imports nothing of ours: a second copy of the compiler that strips types from ours would
// cost 16 MB in every sidecar.

/** DER around a raw Ed25519 key (RFC 8410). */
const PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex");
const SIGNATURE_BYTES = 64;
const PUBLIC_KEY_BYTES = 32;

if (parentPort === null) throw new Error("runs as a worker only");
const port = parentPort;
const der = Buffer.concat([PKCS8, workerData]);
const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
der.fill(0);

port.on("message", ({ lengths, bytes }) => {
  const signatures = new Uint8Array(lengths.length * SIGNATURE_BYTES);
  let at = 0;
  for (let i = 0; i < lengths.length; i++) {
    signatures.set(sign(null, bytes.subarray(at, at + lengths[i]), key), i * SIGNATURE_BYTES);
    at += lengths[i];
  }
  port.postMessage(signatures, [signatures.buffer]);
});

const spki = createPublicKey(key).export({ type: "spki", format: "der" });
port.postMessage(new Uint8Array(spki.subarray(-PUBLIC_KEY_BYTES)));
