import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { afterEach, expect, test, vi } from "vitest";
import { generateSeed, seedSigner } from "./keys.ts";
import { VerifyThread } from "./verify-thread.ts";

type Triple = [key: Uint8Array, message: Uint8Array, signature: Uint8Array];

const opened: VerifyThread[] = [];
function thread(
  options: Partial<ConstructorParameters<typeof VerifyThread>[0]> = {},
): VerifyThread {
  const one = new VerifyThread({ gather: () => Promise.resolve(), ...options });
  opened.push(one);
  return one;
}
afterEach(async () => {
  for (const one of opened.splice(0)) await one.close();
});

async function signed(text: string): Promise<Triple> {
  const signer = seedSigner(generateSeed());
  const message = new TextEncoder().encode(text);
  return [signer.publicKey, message, await signer.sign(message)];
}

test("whoever asks alone waits for nobody, and what comes after some that were asked together waits", async () => {
  const gathered = Promise.withResolvers<void>();
  let waits = 0;
  const one = thread({
    gather: () => {
      waits++;
      return gathered.promise;
    },
  });
  const [a, b, c, d] = await Promise.all(["a", "b", "c", "d"].map(signed));
  const ask = (triple = a) => one.holds(...(triple as Triple));
  expect(await ask(a)).toBe(true);
  expect(await ask(b)).toBe(true);
  expect(waits).toBe(0);
  expect(await Promise.all([ask(b), ask(c)])).toEqual([true, true]);
  expect(waits).toBe(1);
  let told = false;
  const later = ask(d).then((holds) => {
    told = true;
    return holds;
  });
  // As long as another thread's answer takes.
  expect(await thread().holds(...(a as Triple))).toBe(true);
  expect(told).toBe(false);
  gathered.resolve();
  expect(await later).toBe(true);
  expect(await ask(a)).toBe(true);
  expect(waits).toBe(1);
});

test("more than go together are all told, in whatever order they are asked", async () => {
  const triples = await Promise.all(Array.from({ length: 7 }, (_, i) => signed(`${i}`)));
  const one = thread({ keysMax: 4 });
  const asked = Array.from({ length: 300 }, (_, i) => {
    const [key, message, signature] = triples[i % 7] as Triple;
    return one.holds(key, i % 3 === 0 ? new Uint8Array(i) : message, signature);
  });
  expect(await Promise.all(asked)).toEqual(asked.map((_, i) => i % 3 !== 0));
});

test("as many as go together are sent at once, whether the thread has answered or not", async () => {
  const sent = vi.spyOn(Worker.prototype, "postMessage");
  const one = thread();
  const triple = await signed("a");
  const asked = Array.from({ length: 3 * 64 }, () => one.holds(...triple));
  expect(sent).toHaveBeenCalledTimes(3);
  expect(await Promise.all(asked)).toEqual(asked.map(() => true));
  sent.mockRestore();
});

test("where the thread ends, what it was asked is refused, and another answers what is asked next", async () => {
  const one = thread();
  const triple = await signed("a");
  const started = new Promise<Worker>((found) => process.once("worker", found));
  const asked = [one.holds(...triple), one.holds(...triple)];
  const refused = Promise.allSettled(asked);
  await (await started).terminate();
  const reason = expect.objectContaining({ message: expect.stringContaining("ended (exit") });
  expect(await refused).toEqual(asked.map(() => ({ status: "rejected", reason })));
  expect(await one.holds(...triple)).toBe(true);
});

test("a process that has nothing else to do ends, whatever its thread was asked before", async () => {
  const module = new URL("./verify-thread.ts", import.meta.url).href;
  const asked = (await signed("a")).map((bytes) => `Uint8Array.of(${bytes.join()})`);
  const program = `
    import { VerifyThread } from "${module}";
    const thread = new VerifyThread({ gather: () => Promise.resolve() });
    const alive = setInterval(() => {}, 1e6);
    console.log(await thread.holds(${asked.join()}));
    clearInterval(alive);
  `;
  const run = promisify(execFile)(process.execPath, ["--input-type=module", "-e", program]);
  expect((await run).stdout).toBe("true\n");
});

test("once closed it refuses, and what was waiting with it", async () => {
  const one = thread();
  const triple = await signed("a");
  const waiting = one.holds(...triple);
  const closed = one.close();
  await expect(waiting).rejects.toThrow("no more");
  await closed;
  await expect(one.holds(...triple)).rejects.toThrow("no more");
});
