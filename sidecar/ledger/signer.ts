import { Worker } from "node:worker_threads";
import { equal } from "../../src/domain/bytes.ts";
import { native } from "../../src/native/crypto.ts";
import type { Seed } from "../../src/native/keys.ts";

/**
 * Signs many messages at once, off the thread that carries traffic. It may be a worker, a KMS or
 * another process: the ledger knows only this.
 */
export interface BatchSigner {
  readonly publicKey: Uint8Array;
  /**
   * One signature a message, in order. Batches are answered in the order they came.
   * A rejection is final: the signer is gone, and so is what was given to it.
   */
  sign(messages: readonly Uint8Array[]): Promise<Uint8Array[]>;
  close(): Promise<void>;
}

/** What travels to the worker: all messages joined, and how long each is. */
interface SignRequest {
  readonly lengths: Uint32Array<ArrayBuffer>;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

const SIGNATURE_BYTES = 64;

const WORKER = new URL("./signer-worker.mjs", import.meta.url);

/**
 * Signs in a worker thread with synchronous calls: the shared libuv pool would make every fsync wait
 * behind the signatures (0.12 ms alone, 14.6 ms behind 1,024).
 */
export async function workerSigner(seed: Seed): Promise<BatchSigner> {
  // The worker is where the secret is used; it gets its own copy and nobody else does.
  const secret = seed.reveal();
  const publicKey = native.publicKey(secret);
  const worker = new Worker(WORKER, {
    workerData: secret,
    stdin: true,
    // What it makes is short-lived and small; a heap grown to the default would only be resident.
    resourceLimits: { maxYoungGenerationSizeMb: 6 },
  });
  secret.fill(0);
  const waiting: {
    readonly resolve: (signatures: Uint8Array[]) => void;
    readonly reject: (error: Error) => void;
  }[] = [];
  let gone: Error | null = null;

  const ready = Promise.withResolvers<void>();
  const end = (error: Error): void => {
    gone ??= error;
    ready.reject(gone);
    for (const { reject } of waiting.splice(0)) reject(gone);
  };
  worker.on("error", (cause) => end(new Error("the signer failed", { cause })));
  worker.on("exit", (code) => end(new Error(`the signer ended (exit ${code})`)));
  worker.once("message", (key: Uint8Array) => {
    if (!equal(key, publicKey)) return end(new Error("the signer holds another key"));
    worker.on("message", (signatures: Uint8Array) => waiting.shift()?.resolve(split(signatures)));
    ready.resolve();
  });
  await ready.promise;

  return {
    publicKey,
    sign(messages) {
      if (gone !== null) return Promise.reject(gone);
      return new Promise((resolve, reject) => {
        waiting.push({ resolve, reject });
        const request = joined(messages);
        worker.postMessage(request, [request.bytes.buffer, request.lengths.buffer]);
      });
    },
    async close() {
      gone ??= new Error("the signer was closed");
      await worker.terminate();
    },
  };
}

function joined(messages: readonly Uint8Array[]): SignRequest {
  const lengths = new Uint32Array(messages.length);
  let total = 0;
  messages.forEach((m, i) => {
    lengths[i] = m.length;
    total += m.length;
  });
  const bytes = new Uint8Array(total);
  let at = 0;
  for (const m of messages) {
    bytes.set(m, at);
    at += m.length;
  }
  return { lengths, bytes };
}

function split(signatures: Uint8Array): Uint8Array[] {
  return Array.from({ length: signatures.length / SIGNATURE_BYTES }, (_, i) =>
    signatures.subarray(i * SIGNATURE_BYTES, (i + 1) * SIGNATURE_BYTES),
  );
}
