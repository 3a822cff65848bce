import { createPublicKey, verify } from "node:crypto";
import { parentPort, workerData } from "node:worker_threads";

// The thread behind `VerifyThread`: answers batch for batch. It is plain JavaScript and imports nothing of ours: a
// second copy of the compiler that strips types from ours would cost 16 MB.

/** DER around a raw Ed25519 key (RFC 8410). */
const SPKI = Buffer.from("302a300506032b6570032100", "hex");
const KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;

if (parentPort === null) throw new Error("runs as a worker only");
const port = parentPort;

/** Keys as OpenSSL takes them, by their bytes: as many as were asked for last, and those before them. */
let recent = new Map();
let before = new Map();

/** @param {Buffer} raw */
function keyOf(raw) {
  const name = raw.latin1Slice();
  let key = recent.get(name);
  if (key !== undefined) return key;
  key = before.get(name) ?? publicKeyOf(raw);
  if (recent.size >= workerData.keysMax / 2) {
    before = recent;
    recent = new Map();
  }
  recent.set(name, key);
  return key;
}

/**
 * As PEM: see `public-key.ts`.
 * @param {Buffer} raw
 */
function publicKeyOf(raw) {
  const base64 = Buffer.concat([SPKI, raw]).toString("base64");
  return createPublicKey(`-----BEGIN PUBLIC KEY-----\n${base64}\n-----END PUBLIC KEY-----\n`);
}

port.on("message", ({ lengths, bytes }) => {
  const all = Buffer.from(bytes.buffer);
  const holds = new Uint8Array(lengths.length);
  let at = 0;
  for (let i = 0; i < lengths.length; i++) {
    const [signature, message] = [at + KEY_BYTES, at + KEY_BYTES + SIGNATURE_BYTES];
    const key = keyOf(all.subarray(at, signature));
    at = message + lengths[i];
    const isHeld = verify(null, all.subarray(message, at), key, all.subarray(signature, message));
    holds[i] = isHeld ? 1 : 0;
  }
  port.postMessage(holds, [holds.buffer]);
});
