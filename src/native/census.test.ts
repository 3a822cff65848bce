import { expect, test } from "vitest";
import { Census } from "./census.ts";

const limits = { certifiedMax: 2, waitingMax: 3, anonymousMax: 3, anonymousPerAddressMax: 2 };

test("one address takes no more than its share, and all of them no more than there is", () => {
  const census = new Census(limits);
  expect(census.enter("a1", "a")).toBe(true);
  expect(census.enter("a2", "a")).toBe(true);
  expect(census.enter("a3", "a")).toBe(false);
  expect(census.enter("b1", "b")).toBe(true);
  expect(census.enter("c1", "c")).toBe(false);
  census.leave("a1");
  expect(census.enter("a3", "a")).toBe(true);
});

test("those who wait are counted apart from those who have begun, and by the same addresses", () => {
  const census = new Census({ ...limits, waitingMax: 2 });
  for (const name of ["a1", "a2"]) expect(census.enter(name, name)).toBe(true);
  expect(census.enter("a3", "a3")).toBe(false);
  for (const name of ["a1", "a2"]) census.begin(name);
  for (const name of ["a3", "a4"]) expect(census.enter(name, name)).toBe(true);
  expect(census.hasPlace).toBe(true);
  census.begin("a3");
  // Three have begun, and one more must not; nor does one address begin anew what it has in hand.
  expect(census.hasPlace).toBe(false);
  census.leave("a4");
  expect(census.enter("a1 again", "a1")).toBe(true);
  expect(census.enter("a1 once more", "a1")).toBe(false);
  census.leave("a1");
  expect(census.hasPlace).toBe(true);
});

test("whoever shows a certificate takes no stranger's place, and is counted by itself", () => {
  const census = new Census(limits);
  for (const name of ["a1", "a2"]) {
    census.enter(name, "a");
    expect(census.certify(name)).toBe(true);
  }
  expect(census.enter("a3", "a")).toBe(true);
  expect(census.certify("a3")).toBe(false);
  census.leave("a3");
  census.leave("a1");
  expect(census.enter("a4", "a")).toBe(true);
  expect(census.certify("a4")).toBe(true);
});

test("leaving twice frees one place", () => {
  const census = new Census(limits);
  census.enter("a1", "a");
  census.enter("a2", "a");
  census.leave("a1");
  census.leave("a1");
  expect(census.enter("a3", "a")).toBe(true);
  expect(census.enter("a4", "a")).toBe(false);
});
