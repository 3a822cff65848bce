/**
 * A sidecar's whole data path as a process, with everything on: each call is judged under a signed
 * lease, its intent is durable before it is forwarded, its receipt chained and signed after.
 *
 *     node bench/sidecar.ts UPSTREAM_PORT      prints {"port": …} of its reverse route
 *
 * Ends by SIGTERM, and then prints what its ledger counted: {"completed": …, "failed": …, "denied": …}.
 */
import { once } from "node:events";
import { keepSmall } from "../sidecar/engine.ts";
import { openSidecar } from "../test/interop/rig.ts";
import { PATH } from "./load.ts";

keepSmall();
const target = `127.0.0.1:${process.argv[2]}`;
const sidecar = await openSidecar({
  granted: { [target]: [PATH] },
  rules: [{ protocol: "HTTP", scheme: "HTTP", target, verb: "POST", path: "/*", when: "" }],
  routes: [{ scheme: "http", target, listen: { host: "127.0.0.1", port: 0 } }],
});
console.log(JSON.stringify({ port: sidecar.stack.routeAddresses[0]?.port }));
await once(process, "SIGTERM");
await sidecar.stack.close(0);
await sidecar.ledger.flushed();
const counts = { completed: 0, failed: 0, denied: 0 };
for (const row of sidecar.ledger.stats().scopes) {
  counts.completed += row.completed;
  counts.failed += row.failed;
  counts.denied += row.denied;
}
console.log(JSON.stringify(counts));
await sidecar.close();
process.exit(0);
