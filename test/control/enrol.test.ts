import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import tls from "node:tls";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ADMISSION } from "../../src/control/admission.ts";
import { exchangeSidecarCa } from "../../src/control/identity.ts";
import { AlarmBody } from "../../src/domain/alarm.ts";
import { toHex } from "../../src/domain/bytes.ts";
import type { Signer } from "../../src/domain/crypto.ts";
import { enrolMessage, formatSidecarName } from "../../src/domain/enrolment.ts";
import {
  anonymousPerAddressMax,
  controlAgeGraceUs,
  controlAgeUs,
  dockTtlMaxUs,
  joinKeyAlarmsMax,
  sidecarCertificateTtlUs,
} from "../../src/domain/limits.ts";
import { AuditService, GrantService } from "../../src/gen/dragons/v1/authority_pb.ts";
import { DockService } from "../../src/gen/dragons/v1/dock_pb.ts";
import { LedgerService } from "../../src/gen/dragons/v1/ledger_pb.ts";
import { OrganismService, WatchEvent } from "../../src/gen/dragons/v1/organism_pb.ts";
import { TetherService } from "../../src/gen/dragons/v1/tether_pb.ts";
import {
  createCa,
  ed25519Spki,
  generateTlsKey,
  issueLeaf,
  loadCa,
  readClientLeaf,
} from "../../src/native/pki.ts";
import { makeBerth, SimSidecar } from "./sidecar.ts";
import {
  type Door,
  dockBody,
  genesis,
  type House,
  makeHouse,
  newSigner,
  refusalOf,
  requestId,
  signDock,
  startWorld,
  type World,
} from "./world.ts";

const HOUR_US = 3_600_000_000;

let world: World;
let house: House;
let sidecar: SimSidecar;
let houses = 0;

beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.end());
beforeEach(async () => {
  house = await makeHouse(world, `house-${++houses}`);
  sidecar = await SimSidecar.dock(world, house, await makeBerth(world, house));
});

/** Asks for a certificate; `more` is what differs from how it should be. */
async function enrol(
  more: { tlsKey?: Uint8Array; askedAtUs?: number; signer?: Signer; ledgerId?: Uint8Array } = {},
) {
  const own = generateTlsKey();
  const { ledgerId, tlsKey, askedAtUs, signer } = {
    ledgerId: sidecar.ledgerId,
    tlsKey: own.publicKey,
    askedAtUs: world.clock.nowUs(),
    signer: sidecar.ledgerKey,
    ...more,
  };
  const signature = await signer.sign(enrolMessage({ ledgerId, tlsKey, askedAtUs }));
  const request = { ledgerId, tlsKey, askedAtUs: BigInt(askedAtUs), signature };
  const answer = await world.client(DockService).enrol(request);
  return { certPem: answer.certificate, keyPem: own.keyPem, notAfterUs: answer.notAfterUs };
}

/** What Sync says to a connection: SESSION_UNKNOWN to whoever is let in with no session. */
async function letIn(door: Door): Promise<string> {
  const none = (async function* () {})();
  const stream = door.client(LedgerService).sync(none)[Symbol.asyncIterator]();
  return (await refusalOf(stream.next())).reason;
}

const authority = async () => {
  const { data } = world.running.ready;
  const read = (file: string) => readFile(file, "utf8");
  return loadCa(await read(`${data}/sidecar-ca.pem`), await read(`${data}.keys/sidecar-ca.key`));
};

describe("a sidecar's certificate", () => {
  test("names its tenant, instance and ledger, is for clients, and lets it in", async () => {
    const certificate = await enrol();
    const { certPem } = await authority();
    const der = new Uint8Array(Buffer.from(certificate.certPem.split("-----")[2] ?? "", "base64"));
    const root = new X509Certificate(certPem);
    const nowUs = Date.now() * 1000;
    const leaf = readClientLeaf(root, der, nowUs);
    const { ledgerId, instanceId } = sidecar;
    expect(leaf?.uris).toEqual([
      formatSidecarName({ tenantId: house.tenantId, instanceId, ledgerId }),
    ]);
    expect(Number(leaf?.notAfterUs) - nowUs).toBeLessThanOrEqual(sidecarCertificateTtlUs);
    expect(readClientLeaf(root, der, nowUs + sidecarCertificateTtlUs + HOUR_US)).toBeNull();
    expect(await letIn(world.door(certificate))).toBe("SESSION_UNKNOWN");
  });

  test("outlasts every connection that is begun before it is due", () => {
    // grpc-js spreads the age of connections by a tenth.
    const longest = controlAgeUs * 1.1 + controlAgeGraceUs;
    expect(sidecarCertificateTtlUs / 2).toBeGreaterThan(longest);
  });

  test("is given again and again, whatever became of the last, for as long as the ledger key signs", async () => {
    for (let i = 0; i < 3; i++) {
      expect(await letIn(world.door(await enrol()))).toBe("SESSION_UNKNOWN");
    }
    await world.restart();
    expect(await letIn(world.door(await enrol()))).toBe("SESSION_UNKNOWN");
  });

  test("outlives the authority that issued it, unless that was stolen; the next is by another", async () => {
    const { data } = world.running.ready;
    const exchange = async (stolen: boolean): Promise<void> => {
      await exchangeSidecarCa(data, Date.now() * 1000, stolen);
      await world.restart();
    };
    const before = await enrol();
    await exchange(false);
    const after = await enrol();
    for (const shown of [before, after]) {
      expect(await letIn(world.door(shown))).toBe("SESSION_UNKNOWN");
    }
    // Two exchanges later nothing is left of the first.
    await exchange(false);
    expect(await letIn(world.door(before))).toBe("CREDENTIAL_INVALID");
    expect(await letIn(world.door(after))).toBe("SESSION_UNKNOWN");
    await exchange(true);
    expect(await letIn(world.door(after))).toBe("CREDENTIAL_INVALID");
    expect(await letIn(world.door(await enrol()))).toBe("SESSION_UNKNOWN");
  });

  test("is given to nobody but the ledger key", async () => {
    const other = await SimSidecar.dock(world, house, await makeBerth(world, house));
    expect(await refusalOf(enrol({ signer: newSigner() }))).toMatchObject({
      code: "UNAUTHENTICATED",
      reason: "CREDENTIAL_INVALID",
    });
    expect(await refusalOf(enrol({ signer: other.ledgerKey }))).toMatchObject({
      code: "UNAUTHENTICATED",
    });
    expect(await refusalOf(enrol({ ledgerId: new Uint8Array(32) }))).toMatchObject({
      code: "NOT_FOUND",
    });
  });

  test("is not given for a weak key, for the ledger key itself, or for what is no key", async () => {
    // The neutral element: every signature of it verifies.
    const neutral = new Uint8Array(32).fill(0, 1);
    neutral[0] = 1;
    expect(await refusalOf(enrol({ tlsKey: neutral }))).toMatchObject({
      code: "PERMISSION_DENIED",
      reason: "E_KEY_WEAK",
    });
    expect(await refusalOf(enrol({ tlsKey: new Uint8Array(32).fill(0xff) }))).toMatchObject({
      code: "PERMISSION_DENIED",
    });
    for (const tlsKey of [sidecar.ledgerKey.publicKey, new Uint8Array(31)]) {
      expect(await refusalOf(enrol({ tlsKey }))).toMatchObject({ code: "INVALID_ARGUMENT" });
    }
  });

  test("is not given on a word of another time, which is told", async () => {
    const nowUs = world.clock.nowUs();
    for (const askedAtUs of [nowUs - HOUR_US, nowUs + HOUR_US]) {
      expect(await refusalOf(enrol({ askedAtUs }))).toMatchObject({
        code: "FAILED_PRECONDITION",
        reason: "CLOCK_SKEW",
        metadata: { now_us: `${nowUs}` },
      });
    }
  });
});

describe("a certificate that does not hold counts as none", () => {
  const subject = async (over: { uris?: string[]; usages?: ("client" | "server")[] } = {}) => {
    const { ledgerId, instanceId } = sidecar;
    const uri = formatSidecarName({ tenantId: house.tenantId, instanceId, ledgerId });
    return { commonName: "x", hosts: [], uris: [uri], usages: ["client"] as const, ...over };
  };
  const nowUs = Date.now() * 1000;
  const now = { nowUs, ttlUs: HOUR_US };
  type Ca = Awaited<ReturnType<typeof loadCa>>;
  type Subject = Awaited<ReturnType<typeof subject>>;

  async function shown(ca: Ca, who: Subject, when = now): Promise<string> {
    const { publicKey, keyPem } = generateTlsKey();
    const { certPem } = issueLeaf(ca, who, ed25519Spki(publicKey), when);
    return letIn(world.door({ certPem, keyPem }));
  }

  test("one as it should be, made the same way, does", async () => {
    expect(await shown(await authority(), await subject())).toBe("SESSION_UNKNOWN");
  });

  test.each<[string, () => Promise<string>]>([
    [
      "that has expired",
      async () => {
        const past = { nowUs: nowUs - 2 * HOUR_US, ttlUs: HOUR_US };
        return shown(await authority(), await subject(), past);
      },
    ],
    [
      "that has not begun",
      async () => {
        const future = { nowUs: nowUs + HOUR_US, ttlUs: HOUR_US };
        return shown(await authority(), await subject(), future);
      },
    ],
    [
      "of another authority",
      async () => shown(await createCa("Dragons sidecars", now), await subject()),
    ],
    [
      "of the authority of servers",
      async () => {
        const { data, controlCa } = world.running.ready;
        const key = await readFile(`${data}.keys/ca.key`, "utf8");
        return shown(loadCa(await readFile(controlCa, "utf8"), key), await subject());
      },
    ],
    ["for servers", async () => shown(await authority(), await subject({ usages: ["server"] }))],
    ["without a name", async () => shown(await authority(), await subject({ uris: [] }))],
    [
      "with two names",
      async () => {
        const { uris } = await subject();
        return shown(await authority(), await subject({ uris: [...uris, ...uris] }));
      },
    ],
    [
      "of a tenant that has no such ledger",
      async () => {
        const { uris } = await subject();
        const other = await makeHouse(world, `house-${++houses}`);
        const uri = String(uris[0]).replace(house.tenantId, other.tenantId);
        return shown(await authority(), await subject({ uris: [uri] }));
      },
    ],
    [
      "of another instance",
      async () => {
        const { uris } = await subject();
        const uri = String(uris[0]).replace(sidecar.instanceId, "0189dcd553117d408db09496a2eef37b");
        return shown(await authority(), await subject({ uris: [uri] }));
      },
    ],
  ])("%s", async (_, ask) => {
    expect(await ask()).toBe("CREDENTIAL_INVALID");
  });

  test("and no session is resumed, which would pass for proof", async () => {
    const [host, port] = world.running.ready.control.split(":");
    const ca = await readFile(world.running.ready.controlCa);
    const there = { host, port: Number(port), ca, servername: "localhost", ALPNProtocols: ["h2"] };
    const talk = async (
      session?: Buffer,
    ): Promise<{ session: Buffer | undefined; reused: boolean }> => {
      const socket = tls.connect({ ...there, session });
      let given: Buffer | undefined;
      socket.on("session", (ticket) => {
        given = ticket;
      });
      // The server's first SETTINGS come after whatever it gives to resume by.
      await new Promise((resolve) => socket.once("data", resolve));
      const reused = socket.isSessionReused();
      socket.destroy();
      return { session: given, reused };
    };
    const first = await talk();
    expect(first.reused).toBe(false);
    expect((await talk(first.session)).reused).toBe(false);
  });
});

describe("with its own certificate", () => {
  test("a sidecar attaches its own ledger and no other's", async () => {
    const other = await SimSidecar.dock(world, house, await makeBerth(world, house));
    const own = await sidecar.certified();
    const hello = { case: "hello", value: { ledgerId: other.ledgerId } } as const;
    const up = (async function* () {
      yield { message: hello };
    })();
    const stream = own.client(TetherService).attach(up)[Symbol.asyncIterator]();
    expect(await refusalOf(stream.next())).toMatchObject({
      code: "PERMISSION_DENIED",
      reason: "CREDENTIAL_INVALID",
    });
  });

  test("the session token of another ledger is of no use", async () => {
    const other = await SimSidecar.dock(world, house, await makeBerth(world, house));
    const { attached } = await other.attach();
    const metadata = { "dragons-session-bin": attached.sessionToken };
    const own = await sidecar.certified();
    const none = (async function* () {})();
    const stream = own.client(LedgerService).sync(none, { metadata })[Symbol.asyncIterator]();
    expect(await refusalOf(stream.next())).toMatchObject({ reason: "SESSION_UNKNOWN" });
    const theirs = await other.certified();
    const mine = theirs.client(LedgerService).sync(none, { metadata })[Symbol.asyncIterator]();
    expect((await mine.next()).value?.heldSize).toBe(0n);
  });
});

describe("a join key beyond what its dock allows", () => {
  const alarms = async () => {
    const answer = await world
      .client(AuditService)
      .listRecords({ pageSize: 1000 }, await house.as("VIEWER"));
    return answer.records.filter((r) => r.what === "alarm");
  };

  test("raises an alarm that is recorded and that watchers see, once for each genesis", async () => {
    const { dockRef, join } = await oneLedgerDock();
    const first = await genesis(world, house, dockRef, join);
    const second = await genesis(world, house, dockRef, join);
    const docks = world.client(DockService);
    const abort = new AbortController();
    const watch = world
      .client(OrganismService)
      .watch({ name: "nobody" }, { ...(await house.as("VIEWER")), signal: abort.signal })
      [Symbol.asyncIterator]();
    expect((await watch.next()).value?.event).toBe(WatchEvent.SYNCED);

    await docks.dock({ genesis: first.signed });
    // The same again is the same ledger: an answer that was lost.
    await docks.dock({ genesis: first.signed });
    expect(await alarms()).toEqual([]);
    for (let i = 0; i < 3; i++) {
      expect(await refusalOf(docks.dock({ genesis: second.signed }))).toMatchObject({
        code: "PERMISSION_DENIED",
        reason: "QUOTA_REACHED",
      });
    }
    const [recorded, ...more] = await alarms();
    expect(more).toEqual([]);
    expect(recorded?.method).toBe("dragons.v1.DockService/Dock");
    const body = AlarmBody.decode(recorded?.artifact ?? new Uint8Array(0));
    expect(body).toMatchObject({ kind: "JOIN_KEY_SPENT", dockRef, joinKey: join.publicKey });
    expect(toHex(body.genesis.body)).toBe(toHex(second.signed.body));

    const seen = (await watch.next()).value;
    expect(seen?.event).toBe(WatchEvent.ALARM);
    expect(seen?.alarm?.joinKey).toEqual(join.publicKey);
    abort.abort();
    // It is remembered, and not raised again, after a restart.
    await world.restart();
    await refusalOf(world.client(DockService).dock({ genesis: second.signed }));
    expect(await alarms()).toHaveLength(1);
  });

  test("cannot fill the ledger with alarms", async () => {
    const { dockRef, join } = await oneLedgerDock();
    const docks = world.client(DockService);
    for (let i = 0; i < joinKeyAlarmsMax + 5; i++) {
      const { signed } = await genesis(world, house, dockRef, join);
      await docks.dock({ genesis: signed }).catch(() => {});
    }
    expect(await alarms()).toHaveLength(joinKeyAlarmsMax);
  });

  test("raises none for a genesis that it did not sign", async () => {
    const { dockRef, join } = await oneLedgerDock();
    const docks = world.client(DockService);
    await docks.dock({ genesis: (await genesis(world, house, dockRef, join)).signed });
    const forged = await genesis(world, house, dockRef, newSigner());
    await refusalOf(docks.dock({ genesis: forged.signed }));
    expect(await alarms()).toEqual([]);
  });

  async function oneLedgerDock() {
    const { grantRef } = await makeBerth(world, house);
    const join = newSigner();
    const body = dockBody(world, house, grantRef, [{ key: join.publicKey, ledgersMax: 1 }]);
    const { dockRef } = await world
      .client(DockService)
      .recordDock(
        { requestId: requestId(), dock: await signDock(house, body) },
        await house.as("OPERATOR"),
      );
    return { dockRef, join };
  }
});

test("a dock is not recorded that is open for longer than a week", async () => {
  const { grantRef } = await makeBerth(world, house);
  const record = async (openUs: number) => {
    const notBeforeUs = world.clock.nowUs();
    const join = [{ key: newSigner().publicKey, ledgersMax: 1 }];
    const window = { notBeforeUs, notAfterUs: notBeforeUs + openUs };
    const dock = await signDock(house, dockBody(world, house, grantRef, join, window));
    const operator = await house.as("OPERATOR");
    return world.client(DockService).recordDock({ requestId: requestId(), dock }, operator);
  };
  await record(dockTtlMaxUs);
  expect(await refusalOf(record(dockTtlMaxUs + 1))).toMatchObject({
    code: "INVALID_ARGUMENT",
    metadata: { field: "dock.not_after_us" },
  });
});

describe("those who have proven nothing", () => {
  test("may call so often, by address, and are told when to come back; operators are not held up", async () => {
    const narrow = await startWorld({
      ...ADMISSION,
      strangersPerAddress: { burst: 5, perSecond: 1 },
    });
    try {
      const docks = narrow.client(DockService);
      const ask = () => refusalOf(docks.enrol({ ledgerId: new Uint8Array(32) }));
      for (let i = 0; i < 5; i++) expect((await ask()).code).toBe("INVALID_ARGUMENT");
      expect(await ask()).toMatchObject({
        code: "RESOURCE_EXHAUSTED",
        reason: "TOO_MANY_CALLS",
        metadata: { retry_after_us: "1000000" },
      });
      const other = await refusalOf(docks.dock({}));
      expect(other.code).toBe("RESOURCE_EXHAUSTED");
      const tenants = await makeHouse(narrow, "acme");
      const grants = narrow.client(GrantService);
      expect((await grants.listGrants({}, await tenants.as("VIEWER"))).grants).toEqual([]);
      // A credential that does not hold is none: it is not tried out for ever.
      const guess = { metadata: { authorization: "Bearer guess" } };
      expect((await refusalOf(grants.listGrants({}, guess))).code).toBe("RESOURCE_EXHAUSTED");
      narrow.clock.advance(1_000_000);
      expect((await refusalOf(grants.listGrants({}, guess))).code).toBe("UNAUTHENTICATED");
      expect((await ask()).code).toBe("RESOURCE_EXHAUSTED");
      narrow.clock.advance(1_000_000);
      expect((await ask()).code).toBe("INVALID_ARGUMENT");
    } finally {
      await narrow.end();
    }
  });

  test("one ledger attaches so often, whoever has its key", async () => {
    const narrow = await startWorld({ ...ADMISSION, attaching: { burst: 2, perSecond: 1 } });
    try {
      const tenant = await makeHouse(narrow, "acme");
      const berth = await makeBerth(narrow, tenant);
      const one = await SimSidecar.dock(narrow, tenant, berth);
      const two = await SimSidecar.dock(narrow, tenant, berth);
      await one.attach();
      await one.attach();
      expect(await refusalOf(one.attach())).toMatchObject({ reason: "TOO_MANY_CALLS" });
      await two.attach();
      narrow.clock.advance(1_000_000);
      await one.attach();
    } finally {
      await narrow.end();
    }
  });

  test("one ledger beats so often, whoever has its key; another's beats are heard", async () => {
    const narrow = await startWorld({ ...ADMISSION, beating: { burst: 3, perSecond: 1 } });
    try {
      const tenant = await makeHouse(narrow, "acme");
      const berth = await makeBerth(narrow, tenant);
      const one = await (await SimSidecar.dock(narrow, tenant, berth)).attach();
      const two = await (await SimSidecar.dock(narrow, tenant, berth)).attach();
      for (let i = 0; i < 4; i++) await one.beat();
      const ended = async () => {
        for (;;) await one.next("heartbeatAck");
      };
      expect(await refusalOf(ended())).toMatchObject({ reason: "TOO_MANY_CALLS" });
      expect(one.heard.filter((m) => m.case === "heartbeatAck")).toHaveLength(3);
      await two.beat();
      await two.next("heartbeatAck");
    } finally {
      await narrow.end();
    }
  });

  test("take so many connections of one address; those with a certificate still come in", async () => {
    const [host, port] = world.running.ready.control.split(":");
    const certificate = await enrol();
    const open = Array.from({ length: anonymousPerAddressMax + 50 }, () => {
      const socket = connect({ host: String(host), port: Number(port) });
      socket.on("error", () => {});
      const closed = new Promise<"closed">((resolve) => {
        socket.once("close", () => resolve("closed"));
      });
      return { socket, closed };
    });
    // Those above the bound are hung up on. Ours, which we hold already, count as well.
    const late = open.slice(anonymousPerAddressMax);
    expect(await Promise.all(late.map((o) => o.closed))).toContain("closed");
    for (const { socket } of open) socket.destroy();
    await Promise.all(open.map((o) => o.closed));
    expect(await letIn(world.door(certificate))).toBe("SESSION_UNKNOWN");
  });

  test("speak TLS 1.3 or not at all", async () => {
    const [host, port] = world.running.ready.control.split(":");
    const ca = await readFile(world.running.ready.controlCa);
    const socket = tls.connect({
      host,
      port: Number(port),
      ca,
      servername: "localhost",
      maxVersion: "TLSv1.2",
    });
    const error = await new Promise<Error>((resolve) => socket.once("error", resolve));
    expect((error as NodeJS.ErrnoException).code).toMatch(/PROTOCOL_VERSION/);
  });
});
