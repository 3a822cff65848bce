import { afterAll, beforeAll, expect, test } from "vitest";
import { LeaseBody } from "../../src/domain/lease.ts";
import { makeBerth, SimSidecar } from "../control/sidecar.ts";
import { makeHouse, startWorld, type World } from "../control/world.ts";
import { check, Story } from "../verifier/build.ts";

/**
 * A line that is cut just when a lease is renewed loses that lease, and the next one is cut from a
 * beat that the sidecar made under the one before the lost one, while it goes on working under it.
 * Nobody lied, so nobody's evidence may break.
 */

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.end());

test("a lease that was lost on its way costs its successor a number", async () => {
  const house = await makeHouse(world, "lost-lease");
  const sidecar = await SimSidecar.dock(world, house, await makeBerth(world, house));
  await sidecar.work(1);
  const first = await sidecar.attach();
  await first.syncAll();
  expect((await first.earn()).leaseSeq).toBe(1);
  world.clock.advance(21_000_000);
  await first.beat();
  // It is cut and recorded, and never gets there.
  expect(LeaseBody.decode((await first.next("lease")).body).leaseSeq).toBe(2);
  await first.leave();

  const second = await sidecar.attach();
  expect((await second.earn()).leaseSeq).toBe(4);
  world.clock.advance(21_000_000);
  expect((await second.earn()).leaseSeq).toBe(5);
  await second.leave();
});

test("work that went on under the lease before the lost one is honest work", async () => {
  const story = await Story.begin();
  await story.lifecycle();
  await story.lease();
  await story.act();
  const { size, root, intentsOpened, intentsHead } = story.chain.head();
  // Opened after the beat, before the lease that it earned.
  await story.act();
  const pinned = { headSize: size, headRoot: root, intentsOpened, intentsHead };
  await story.lease((body) => ({ ...body, ...pinned, leaseSeq: 4 }));
  await story.act();
  await story.checkpoint();
  const report = await check(story, await story.pack());
  expect([report.verdict, report.broken]).toEqual(["ANCHORED", null]);
});
