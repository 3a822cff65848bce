import { expect, test } from "vitest";
import { utf8 } from "../domain/bytes.ts";
import { native } from "../native/crypto.ts";
import { remembering } from "./remembering.ts";

const seed = new Uint8Array(32).fill(7);
const key = native.publicKey(seed);
const message = utf8("a grant");
const signature = native.sign(seed, message);

/** How often the cryptography behind it was asked, and what it then says. */
function counted(max: number) {
  const asked = { times: 0 };
  const verify: typeof native.verify = (...given) => {
    asked.times++;
    return native.verify(...given);
  };
  return { asked, crypto: remembering({ ...native, verify }, max) };
}

test("the same signature again is not computed again", () => {
  const { asked, crypto } = counted(8);
  const twice = [1, 2].map(() => crypto.verify(key.slice(), message.slice(), signature.slice()));
  expect({ twice, asked: asked.times }).toEqual({ twice: [true, true], asked: 1 });
});

test("a signature that held says nothing of another message or key", () => {
  const { crypto } = counted(8);
  expect(crypto.verify(key, message, signature)).toBe(true);
  expect(crypto.verify(key, utf8("b grant"), signature)).toBe(false);
  expect(crypto.verify(native.publicKey(new Uint8Array(32)), message, signature)).toBe(false);
  expect(crypto.verify(key, message, signature)).toBe(true);
});

test("what did not hold does not hold the next time, nor spoils what does", () => {
  const { crypto } = counted(8);
  const wrong = utf8("another");
  expect([1, 2].map(() => crypto.verify(key, wrong, signature))).toEqual([false, false]);
  expect(crypto.verify(key, message, signature)).toBe(true);
});

test("no more is remembered than was said", () => {
  const { asked, crypto } = counted(1);
  const other = native.sign(seed, utf8("other"));
  crypto.verify(key, message, signature);
  crypto.verify(key, utf8("other"), other);
  crypto.verify(key, message, signature);
  expect(asked.times).toBe(3);
});
