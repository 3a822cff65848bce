import { makeBerth, SimSidecar } from "./sidecar.ts";
import { makeHouse, startWorld } from "./world.ts";

/** Ledgers that one join key may open here. */
const PER_BERTH = 100;
/** Over so much of their length the leases of a fleet are spread, as they are in any fleet. */
const SPREAD_US = 19_000_000;
/** Sidecars that dock or attach at once: the client is one process, too. */
const AT_ONCE = 32;

export interface Renewed {
  /** Milliseconds from the restart until each had its next lease, in order of arrival. */
  readonly afterMs: number[];
  /** Milliseconds that each one's lease had left at the restart, in the same order. */
  readonly leftMs: number[];
  /** Whose next lease came when the one before had already run out. */
  readonly late: number;
}

/**
 * A fleet under leases, and a control plane that ends and starts anew: how long until everybody is
 * renewed? All over TLS on loopback; leases last a minute.
 */
export async function restartUnder(count: number): Promise<Renewed> {
  const open = { perSecond: 1e6, burst: 1e6 };
  const world = await startWorld({
    strangers: open,
    strangersPerAddress: open,
    attaching: open,
    beating: open,
  });
  try {
    const house = await makeHouse(world, "fleet");
    const sidecars: SimSidecar[] = [];
    for (let docked = 0; docked < count; docked += PER_BERTH) {
      const berth = await makeBerth(world, house, { instancesMax: count });
      const n = Math.min(PER_BERTH, count - docked);
      sidecars.push(...(await pooled(range(n), () => SimSidecar.dock(world, house, berth))));
    }
    const until = new Map<SimSidecar, number>();
    const step = Math.floor(SPREAD_US / count);
    await pooled(sidecars, async (sidecar) => {
      const attached = await sidecar.attach();
      until.set(sidecar, (await attached.earn()).notAfterUs);
      world.clock.advance(step);
    });
    await world.running.tenants.settled();
    await world.restart();

    const began = performance.now();
    const nowUs = world.clock.nowUs();
    const renewed: { after: number; left: number }[] = [];
    await pooled(sidecars, async (sidecar) => {
      const attached = await sidecar.attach();
      await attached.earn();
      const left = ((until.get(sidecar) as number) - nowUs) / 1000;
      renewed.push({ after: performance.now() - began, left });
    });
    return {
      afterMs: renewed.map((r) => r.after),
      leftMs: renewed.map((r) => r.left),
      late: renewed.filter((r) => r.after >= r.left).length,
    };
  } finally {
    await world.end();
  }
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

async function pooled<A, B>(items: readonly A[], work: (item: A) => Promise<B>): Promise<B[]> {
  const results: B[] = [];
  const left = [...items];
  const worker = async (): Promise<void> => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) {
      results.push(await work(item));
    }
  };
  await Promise.all(range(AT_ONCE).map(worker));
  return results;
}
