import { expect, test } from "vitest";
import { check, goodStory } from "./build.ts";

test("a good pack is ANCHORED", async () => {
  const story = await goodStory();
  const report = await check(story, await story.pack());
  expect(report.broken).toBeNull();
  expect(report.verdict).toBe("ANCHORED");
});
