import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { watchOrganisms } from "../../src/cli/actions/organism.ts";
import { watchReceipts } from "../../src/cli/actions/receipt.ts";
import { type Control, openControl } from "../../src/cli/client.ts";
import { EXIT } from "../../src/cli/failure.ts";
import { toHex } from "../../src/domain/bytes.ts";
import { newId } from "../../src/domain/ids.ts";
import { refOf } from "../../src/domain/signing.ts";
import { signToken } from "../../src/domain/token.ts";
import { TRANSITION, type TransitionBody } from "../../src/domain/transition.ts";
import { native } from "../../src/native/crypto.ts";
import { fileSigner } from "../../src/native/keys.ts";
import { type Attachment, makeBerth, SimSidecar } from "../control/sidecar.ts";
import { type House, ids, startWorld, type World } from "../control/world.ts";
import { Terminal } from "./terminal.ts";

/** An organism that lives, as operators see and rule it from the command line. */

let terminal: Terminal;
let world: World;
let sidecar: SimSidecar;
let attached: Attachment;
let control: Control;

beforeAll(async () => {
  terminal = await Terminal.open();
  world = await startWorld();
  // Tokens of commands are dated by the machine's clock.
  world.clock.setWall(Date.now() * 1000);
  const { ready } = world.running;
  const founded = await terminal.dragons(
    "tenant",
    "create",
    "acme",
    `--control=${ready.control}`,
    `--control-ca=${ready.controlCa}`,
    `--audience=${ready.audience}`,
    `--bootstrap=${ready.bootstrapTokenFile}`,
  );
  expect(founded.code).toBe(0);
  const login = await fileSigner(".dragons/keys/login.key");
  control = openControl({
    address: ready.control,
    ca: await readFile(ready.controlCa, "utf8"),
    tenant: "acme",
    login: { operator: "admin", audience: ready.audience, signer: login },
    bootstrap: null,
  });
  const house = {
    tenantId: "acme",
    root: await fileSigner(".dragons/keys/root.key"),
    grantKey: await fileSigner(".dragons/keys/grant.key"),
    as: async () => {
      const iat = Math.floor(world.clock.nowUs() / 1_000_000);
      const who = { iss: "admin", sub: "admin", aud: ready.audience, tenant: "acme" };
      const token = await signToken({ ...who, iat, exp: iat + 600, jti: "sim" }, login);
      return { metadata: { authorization: `Bearer ${token}` } };
    },
  } as unknown as House;
  sidecar = await SimSidecar.dock(world, house, await makeBerth(world, house));
  await sidecar.work(2);
  attached = await sidecar.attach();
  await attached.beat();
  await attached.syncAll();
  const lease = await attached.next("lease");
  sidecar.leaseRef = refOf(native, "lease", lease.body);
  await attached.beat();
  for await (const change of watchOrganisms(control)) {
    if (change.event === "ORGANISM" && change.organism.state === "RUNNING") break;
  }
});
afterAll(async () => {
  control.close();
  await world.end();
  await terminal.close();
});

/** Revisions count what the control plane records by itself, too. */
const transcript = async (...lines: string[]): Promise<string> =>
  (await terminal.transcript(...lines))
    .replace(/<time> {2}\d+$/gm, "<time>  <revision>")
    .replace(/revision {2}\d+/g, "revision  <revision>");

test("what lives is listed, shown with its latest beat, and has a history", async () => {
  const { instanceId } = sidecar;
  expect(
    await transcript(
      "organism list",
      "organism list --state quarantined",
      `organism show ${instanceId}`,
      `organism history ${instanceId}`,
      "organism show 0189dcd553117d408db09496a2eef37b",
    ),
  ).toMatchInlineSnapshot(`
    "
    $ dragons organism list
    INSTANCE  MANIFEST  STATE  CONDITIONS  SINCE  REVISION
    <32 hex>  reconciler@v7  running  -  <time>  <revision>
    $ dragons organism list --state quarantined
    none
    $ dragons organism show <32 hex>
    instance  <32 hex>
    manifest  reconciler@v7
    state  running
    conditions  -
    since  <time>
    revision  <revision>
    cause  FIRST_BEAT
    desired  run
    ledger  <64 hex>
    docked  <time>
    beat  2, heard <time>
    session  attached
    enforcement  advisory
    receipts  2 made, 2 held at the centre
    in flight  0
    lease  lse_… until <time>
    autonomy  30s
    left  read:payments unlimited
    $ dragons organism history <32 hex>
    AT  FROM  TO  CAUSE  REASON  DECIDED AGAIN
    <time>  docked  running  FIRST_BEAT  -  agrees
    1 of 1 follow from what they cite
    $ dragons organism show <32 hex>
    dragons: no such organism (NO_SUCH_OBJECT)
    [exit 1]
    "
  `);
});

test("leases and receipt headers are shown as the centre holds them", async () => {
  const [lease] = (await terminal.dragons("lease", "list", "-o", "name")).out.split("\n");
  const [receipt] = (await terminal.dragons("receipt", "list", "-o", "name")).out.split("\n");
  expect(
    await transcript(
      "lease list",
      `lease show ${lease}`,
      "receipt list",
      `receipt list --instance ${sidecar.instanceId} --limit 1`,
      `receipt list --ledger ${toHex(sidecar.ledgerId)} --verdict denied`,
      `receipt show ${receipt}`,
    ),
  ).toMatchInlineSnapshot(`
    "
    $ dragons lease list
    LEASE  INSTANCE  NUMBER  SCOPES  UNTIL  STATE
    lse_…  <32 hex>  1  read:payments  <time>  held
    $ dragons lease show lse_…
    lease  lse_…
    instance  <32 hex>
    number  1
    scopes  read:payments
    until  <time>
    state  held
    ledger  <64 hex>
    grant  <64 hex>
    from  <time>
    earned by  head 2
    autonomy  30s
    left  read:payments unlimited
    $ dragons receipt list
    RECEIPT  SEQ  KIND  VERDICT  REASON  SCOPE  OPENED
    rcp_…  1  lifecycle  completed  -  -  <time>
    rcp_…  2  lifecycle  completed  -  -  <time>
    $ dragons receipt list --instance <32 hex> --limit 1
    RECEIPT  SEQ  KIND  VERDICT  REASON  SCOPE  OPENED
    rcp_…  1  lifecycle  completed  -  -  <time>
    $ dragons receipt list --ledger <64 hex> --verdict denied
    none
    $ dragons receipt show rcp_…
    receipt  rcp_…
    seq  1
    kind  lifecycle
    verdict  completed
    reason  -
    scope  -
    opened  <time>
    closed  <time>
    last byte  -
    ledger  <64 hex>
    lease  -
    manifest  <64 hex>
    signed by  <64 hex>
    "
  `);
});

describe("watches", () => {
  test("organisms: what is there, then SYNCED, then each change; the end of interest ends it", async () => {
    const abort = new AbortController();
    const seen: string[] = [];
    for await (const change of watchOrganisms(control, {}, abort.signal)) {
      seen.push(change.event === "ORGANISM" ? change.organism.state : change.event);
      if (change.event === "SYNCED") {
        const held = await terminal.dragons(
          "organism",
          "quarantine",
          sidecar.instanceId,
          "--reason=a drill",
        );
        expect(held.code).toBe(0);
      }
      if (seen.at(-1) === "QUARANTINED") abort.abort();
    }
    expect(seen.filter((s) => s !== "BOOKMARK")).toEqual(["RUNNING", "SYNCED", "QUARANTINED"]);
  });

  test("receipts: each once, as it comes to be held", async () => {
    const begun = Promise.withResolvers<void>();
    const filter = { ledgerId: toHex(sidecar.ledgerId) };
    const watch = watchReceipts(control, filter, { begun: begun.resolve });
    const first = watch.next();
    await begun.promise;
    await sidecar.work(1);
    await attached.syncAll();
    expect((await first).value).toMatchObject({ seq: 3, kind: "LIFECYCLE" });
    await watch.return(undefined);
  });
});

test("orders carry their reason into the history; a release names what it releases", async () => {
  const { instanceId } = sidecar;
  expect(
    await transcript(
      `organism quarantine ${instanceId}`,
      `organism release ${instanceId} --reason "found nothing" --condition fork`,
      `organism release ${instanceId} --reason "found nothing" --condition sleep`,
      `organism release ${instanceId} --reason "found nothing"`,
      `organism stop ${instanceId} --reason "contract ended"`,
      `organism history ${instanceId}`,
      `lease revoke ${instanceId} --reason "too late"`,
    ),
  ).toMatchInlineSnapshot(`
    "
    $ dragons organism quarantine <32 hex>
    dragons: required option '--reason <text>' not specified
    add --help to see what it takes
    [exit 64]
    $ dragons organism release <32 hex> --reason "found nothing" --condition fork
    dragons: a fork is never released: open a new instance (FORK_NOT_RELEASABLE)
    [exit 1]
    $ dragons organism release <32 hex> --reason "found nothing" --condition sleep
    dragons: --condition: sleep is none of silent, stalled, looping, lease_zero, ledger_fault, sync_lag, denial_storm, drift, fork, regress, key_misuse, held
    [exit 64]
    $ dragons organism release <32 hex> --reason "found nothing"
    instance  <32 hex>
    manifest  reconciler@v7
    state  degraded
    conditions  LEASE_ZERO
    since  <time>
    revision  <revision>
    $ dragons organism stop <32 hex> --reason "contract ended"
    instance  <32 hex>
    manifest  reconciler@v7
    state  degraded
    conditions  LEASE_ZERO
    since  <time>
    revision  <revision>
    $ dragons organism history <32 hex>
    AT  FROM  TO  CAUSE  REASON  DECIDED AGAIN
    <time>  docked  running  FIRST_BEAT  -  agrees
    <time>  running  quarantined  OPERATOR  a drill  agrees
    <time>  quarantined  degraded  OPERATOR  found nothing  agrees
    3 of 3 follow from what they cite
    $ dragons lease revoke <32 hex> --reason "too late"
    dragons: lease lse_… was revoked already, by epoch 1 (STATE_UNFIT)
    [exit 1]
    "
  `);
});

/** The last one here: a lie stays in its history. */
test("a change of state that follows from nothing, signed by the issuer all the same, is told to differ, and why; it ends with 2", async () => {
  const { instanceId } = sidecar;
  const tenant = world.running.tenants.get("acme");
  const last = tenant?.instance(instanceId)?.transition?.body;
  if (!tenant || last === undefined) throw new Error("nothing to go on from");
  // Such a change there may be, and all that it cites is there; but nothing has cured what was wrong.
  const lie: TransitionBody = {
    ...last,
    transitionId: newId("trn", ids),
    from: "DEGRADED",
    to: "RUNNING",
    cause: "CONDITIONS_CLEARED",
    condition: "UNSPECIFIED",
    reason: "",
    actor: new Uint8Array(0),
    released: [],
  };
  const artifact = await tenant.issue(TRANSITION, lie);
  await tenant.record({ entries: [{ what: "transition", artifact }] });
  const { code, out, err } = await terminal.dragons("organism", "history", instanceId);
  expect(code).toBe(EXIT.refused);
  expect(out.trimEnd().split("\n").at(-1)).toMatch(
    /degraded +running +CONDITIONS_CLEARED +- +differs$/,
  );
  expect(terminal.plain(err)).toMatchInlineSnapshot(`
    "trn_… differs: it should stay in its state
    3 of 4 follow from what they cite
    dragons: this history was not decided so
    "
  `);
});
