import { expect, test } from "vitest";
import { concat, utf8 } from "../domain/bytes.ts";
import { native } from "../native/crypto.ts";
import { Kept } from "./kept.ts";

const leaf = (seq: number): Uint8Array => native.sha256(utf8(`${seq}`));
const digestOf = (seqs: readonly number[]): Uint8Array =>
  native.sha256(utf8("dragons/v1/kept\n"), concat(...seqs.map(leaf)));

test("keeps what was added and not dropped, in order, however much comes and goes", () => {
  const kept = new Kept();
  expect(kept.digest(native)).toEqual(digestOf([]));
  const counted = new Set<number>();
  for (let n = 1; n <= 2000; n++) {
    const seq = n * 3;
    kept.add(seq, leaf(seq));
    counted.add(seq);
    // All but every seventh are overtaken, each a while after it came.
    const overtaken = seq - 90;
    if (overtaken > 0 && n % 7 !== 0) {
      kept.drop(overtaken);
      counted.delete(overtaken);
    }
    if (n % 250 !== 0) continue;
    expect(kept.seqs()).toEqual([...counted]);
    expect(kept.size).toBe(counted.size);
    expect(kept.digest(native)).toEqual(digestOf([...counted]));
  }
});

test("of what is not there nothing can be dropped", () => {
  const kept = new Kept();
  kept.add(5, leaf(5));
  expect(() => kept.drop(4)).toThrow();
  expect(() => kept.drop(6)).toThrow();
  kept.drop(5);
  expect(() => kept.drop(5)).toThrow();
});
