import { describe, expect, test } from "vitest";
import { LivenessPolicy } from "../domain/grant.ts";
import { born, OrganismView } from "../domain/organism.ts";
import { Arena } from "./arena.ts";
import { PackedViews } from "./packed-view.ts";

const LIVENESS = { ...LivenessPolicy.empty(), stallDegradedUs: 7 };
const viewOf = (n: number): OrganismView => born(new Uint8Array(32).fill(n), LIVENESS, 1000 + n);
const open = (n: number): OrganismView => OrganismView.decode(OrganismView.encode(viewOf(n)));

describe("views that are packed", () => {
  test("come back as they were put in, in whatever order they are asked for", () => {
    const views = new PackedViews(new Arena(), 2);
    const packed = Array.from({ length: 7 }, (_, n) => views.add(viewOf(n)));
    for (const n of [6, 0, 3, 3, 1, 0, 6, 5, 2, 4]) {
      expect(packed[n]?.get()).toEqual(open(n));
      expect(packed[n]?.bytes()).toEqual(OrganismView.encode(viewOf(n)));
    }
  });

  test("are the same object for whoever asks again within the moment", () => {
    const views = new PackedViews(new Arena(), 2);
    const [one, two, three] = [views.add(viewOf(1)), views.add(viewOf(2)), views.add(viewOf(3))];
    const first = one.get();
    expect(one.get()).toBe(first);
    two.get();
    expect(one.get()).toBe(first);
    three.get();
    expect(one.get()).not.toBe(first);
    expect(one.get()).toEqual(first);
  });

  test("keep what was put in last, whether they lay open or not", () => {
    const views = new PackedViews(new Arena(), 1);
    const [one, two] = [views.add(viewOf(1)), views.add(viewOf(2))];
    two.get();
    one.set({ ...viewOf(1), state: "RUNNING" });
    expect(one.state).toBe("RUNNING");
    one.set({ ...one.get(), proven: true });
    two.get();
    expect(one.get()).toEqual({ ...open(1), state: "RUNNING", proven: true });
    expect(OrganismView.decode(one.bytes())).toEqual(one.get());
  });

  test("stay open where they are to, however many others are asked for", () => {
    const views = new PackedViews(new Arena(), 1);
    const [one, two] = [views.add(viewOf(1)), views.add(viewOf(2))];
    const left = one.get();
    one.isLeftOpen = true;
    two.get();
    expect(one.get()).toBe(left);
    one.isLeftOpen = false;
    two.get();
    expect(one.get()).not.toBe(left);
    expect(one.get()).toEqual(left);
  });

  test("give bytes that stay as they are, whatever is put in next", () => {
    const [one, two] = [viewOf(1), viewOf(2)].map((v) => new PackedViews(new Arena(), 1).add(v));
    const before = one?.bytes();
    const opened = two?.get();
    one?.set(viewOf(3));
    one?.pack();
    two?.pack();
    two?.set(viewOf(4));
    two?.pack();
    expect(before).toEqual(OrganismView.encode(viewOf(1)));
    expect(opened).toEqual(viewOf(2));
  });

  test("tell without being opened what is asked of everybody", () => {
    const views = new PackedViews(new Arena(), 1);
    const one = views.add(viewOf(1));
    const told = () => [one.state, one.isAttached, one.isIll];
    expect(told()).toEqual(["DOCKED", false, false]);
    const conditions = [{ type: "STALLED" as const, sinceUs: 1, artifact: new Uint8Array(32) }];
    const { facts } = one.get();
    one.set({ ...one.get(), state: "DEGRADED", facts: { ...facts, attached: true }, conditions });
    views.add(viewOf(2));
    expect(told()).toEqual(["DEGRADED", true, true]);
    one.set({ ...one.get(), conditions: [] });
    expect(told()).toEqual(["DEGRADED", true, false]);
  });

  test("give bytes in memory of their own, and share what their grant says", () => {
    const views = new PackedViews(new Arena(), 1);
    const one = views.add(viewOf(1));
    views.add(viewOf(2)).get();
    expect(one.get().liveness).toBe(LIVENESS);
    expect(one.bytes().buffer.byteLength).toBe(one.bytes().length);
    one.set({ ...one.get(), liveness: { ...LIVENESS, stallDegradedUs: 8 } });
    views.add(viewOf(3)).get();
    expect(one.get().liveness.stallDegradedUs).toBe(8);
  });
});
