import { parentPort, workerData } from "node:worker_threads";
import { native } from "../../src/native/crypto.ts";
import type { SignRequest } from "./signer.ts";

// The thread behind `workerSigner`: tells its public key once, then answers batch for batch.

if (parentPort === null) throw new Error("runs as a worker only");
const port = parentPort;
const seed: Uint8Array = workerData;

port.on("message", ({ lengths, bytes }: SignRequest) => {
  const signatures = new Uint8Array(lengths.length * 64);
  let at = 0;
  lengths.forEach((length, i) => {
    signatures.set(native.sign(seed, bytes.subarray(at, at + length)), i * 64);
    at += length;
  });
  port.postMessage(signatures, [signatures.buffer]);
});

port.postMessage(native.publicKey(seed));
