import { inspect } from "node:util";
import { expect, test } from "vitest";
import { native } from "../../src/native/crypto.ts";
import { generateSeed, Seed } from "../../src/native/keys.ts";
import { workerSigner } from "./signer.ts";

const seed = new Seed(new Uint8Array(32).fill(7));
const publicKey = native.publicKey(seed.reveal());
const message = (n: number): Uint8Array => new Uint8Array(n).fill(n);

test("signs every message of a batch, in order, whatever their lengths", async () => {
  const signer = await workerSigner(seed);
  const messages = [message(1), message(0), message(500), message(3)];
  const signatures = await signer.sign(messages);
  expect(signer.publicKey).toEqual(publicKey);
  expect(signatures).toHaveLength(4);
  signatures.forEach((signature, i) => {
    expect(native.verify(publicKey, messages[i] as Uint8Array, signature)).toBe(true);
  });
  await signer.close();
});

test("answers batches in the order they came", async () => {
  const signer = await workerSigner(seed);
  const order: number[] = [];
  await Promise.all(
    [50, 1, 10].map(async (size, i) => {
      const signatures = await signer.sign(Array.from({ length: size }, () => message(i)));
      expect(native.verify(publicKey, message(i), signatures[0] as Uint8Array)).toBe(true);
      order.push(i);
    }),
  );
  expect(order).toEqual([0, 1, 2]);
  await signer.close();
});

test("once closed it refuses, and what was waiting with it", async () => {
  const signer = await workerSigner(generateSeed());
  const waiting = signer.sign([message(9)]);
  const closed = signer.close();
  await expect(waiting).rejects.toThrow(/signer/);
  await closed;
  await expect(signer.sign([message(1)])).rejects.toThrow(/closed/);
});

test("the caller's seed survives, and nothing prints it", async () => {
  const signer = await workerSigner(seed);
  expect(seed.reveal()).toEqual(new Uint8Array(32).fill(7));
  expect(inspect(signer, { depth: 9, showHidden: true })).not.toMatch(/7, 7, 7|0707/);
  await signer.close();
});
