import { expect, test } from "vitest";
import { agentRestartsMax, agentSettledUs, agentTermUs } from "../../src/domain/limits.ts";
import type { Restart } from "../../src/domain/restart.ts";
import { ManualClock } from "../../src/native/clock.ts";
import type { Agent } from "./launch.ts";
import { SupervisedAgent } from "./supervised.ts";

const SECOND = 1_000_000;
/** Everything that is waited for by then has happened. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

function supervised(policy: Restart) {
  const clock = new ManualClock(1_790_000_000 * SECOND);
  const agents: { readonly signals: string[]; readonly end: (code: number) => Promise<unknown> }[] =
    [];
  const start = (): Agent => {
    const { promise, resolve } = Promise.withResolvers<number>();
    const signals: string[] = [];
    agents.push({
      signals,
      end: (code) => {
        resolve(code);
        return settled();
      },
    });
    return {
      pid: undefined,
      exited: promise,
      exitCode: () => null,
      signal: (name) => void signals.push(name),
    };
  };
  const said: string[] = [];
  const report = (event: string) => void said.push(event);
  const agent = new SupervisedAgent({ start, policy, clock, report, changed: () => {} });
  return { agent, agents, clock, said, last: () => agents.at(-1) as (typeof agents)[number] };
}

test("by default an agent that ended has ended", async () => {
  const { agent, agents, last } = supervised("never");
  await last().end(7);
  expect(await agent.exited).toBe(7);
  expect(agent.state()).toBe("EXITED");
  expect(agents).toHaveLength(1);
});

test("on-failure follows a failure, not an end, nor what cannot be run", async () => {
  const { agent, agents, clock, last } = supervised("on-failure");
  await last().end(1);
  expect([agent.state(), agent.exitCode()]).toEqual(["ABSENT", null]);
  clock.advance(SECOND);
  expect([agents.length, agent.state()]).toEqual([2, "RUNNING"]);
  await last().end(0);
  expect(await agent.exited).toBe(0);
  const missing = supervised("on-failure");
  await missing.last().end(127);
  expect(await missing.agent.exited).toBe(127);
});

test("always follows an end, too", async () => {
  const { agents, clock, last } = supervised("always");
  await last().end(0);
  clock.advance(SECOND);
  expect(agents).toHaveLength(2);
});

test("each start that does not last waits longer for the next, and the budget ends", async () => {
  const { agent, agents, clock, said, last } = supervised("on-failure");
  for (let n = 0; n < agentRestartsMax; n++) {
    await last().end(3);
    const waitUs = Math.min(SECOND * 2 ** n, 60 * SECOND);
    clock.advance(waitUs - 1);
    expect(agents).toHaveLength(n + 1);
    clock.advance(1);
    expect(agents).toHaveLength(n + 2);
  }
  await last().end(3);
  expect(await agent.exited).toBe(3);
  expect(said.at(-1)).toBe("agent given up");
});

test("one that lasted has its whole budget again", async () => {
  const { agents, clock, last } = supervised("on-failure");
  for (let n = 0; n < 2 * agentRestartsMax; n++) {
    clock.advance(agentSettledUs);
    await last().end(3);
    clock.advance(SECOND);
    expect(agents).toHaveLength(n + 2);
  }
});

test("a restart that is asked for ends the one that runs, whatever it takes, and starts another", async () => {
  const { agent, agents, clock, last } = supervised("on-failure");
  expect(agent.restart()).toBe(true);
  expect(agent.restart()).toBe(true);
  const [first] = agents;
  // Suspended, it hears nothing before it goes on.
  expect(first?.signals).toEqual(["SIGTERM", "SIGCONT"]);
  clock.advance(agentTermUs);
  expect(first?.signals.at(-1)).toBe("SIGKILL");
  // It may take its leave politely: it is followed all the same.
  await last().end(0);
  clock.advance(SECOND);
  expect(agents).toHaveLength(2);
});

test("where the policy is never to restart, it is not restarted", () => {
  const { agent, last } = supervised("never");
  expect(agent.restart()).toBe(false);
  expect(last().signals).toEqual([]);
});

test("what an operator ended is not followed, running or about to", async () => {
  const running = supervised("always");
  running.agent.signal("SIGTERM");
  // One that is suspended hears nothing before it goes on.
  expect(running.last().signals).toEqual(["SIGTERM", "SIGCONT"]);
  await running.last().end(143);
  expect(await running.agent.exited).toBe(143);
  const waiting = supervised("always");
  await waiting.last().end(5);
  waiting.agent.signal("SIGTERM");
  expect(await waiting.agent.exited).toBe(5);
  waiting.clock.advance(60 * SECOND);
  expect(waiting.agents).toHaveLength(1);
});
