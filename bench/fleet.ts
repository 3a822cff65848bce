/**
 * A restart of the control plane under a fleet: how long until every instance has its next lease, and
 * was any of them without one meanwhile? Everything in this one process, clients included, over TLS.
 *
 *     node bench/fleet.ts [--instances 1000]
 */
import { parseArgs } from "node:util";
import { restartUnder } from "../test/control/fleet.ts";

const { values } = parseArgs({ options: { instances: { type: "string", default: "1000" } } });
const instances = Number(values.instances);
const { afterMs, leftMs, late } = await restartUnder(instances);
const at = (share: number): number =>
  Math.round(afterMs[Math.ceil(share * instances) - 1] as number);
console.log(
  `${instances} instances, leases of 60 s, ${Math.round(Math.min(...leftMs) / 1000)} s left at least`,
);
console.log(`renewed after ${at(0.5)} ms (half), ${at(0.99)} ms (99 of 100), ${at(1)} ms (all)`);
console.log(`${late} were without a lease meanwhile`);
process.exit(late === 0 ? 0 : 1);
