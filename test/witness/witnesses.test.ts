import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { treeOf } from "../../src/control/record-stream.ts";
import { readWitnesses } from "../../src/control/witness-file.ts";
import { type Post, postText } from "../../src/control/witness-post.ts";
import { TenantWitnesses } from "../../src/control/witnesses.ts";
import { openNote, originOf, parseCheckpoint } from "../../src/domain/checkpoint.ts";
import { isInvalid } from "../../src/domain/invalid.ts";
import { witnessAgainUs } from "../../src/domain/limits.ts";
import { formatWitnessKey, parseWitnessKey } from "../../src/domain/witness.ts";
import { AuditService, ManifestService } from "../../src/gen/dragons/v1/authority_pb.ts";
import { native } from "../../src/native/crypto.ts";
import {
  type House,
  makeHouse,
  manifest,
  manifestBytes,
  requestId,
  startWorld,
  type World,
} from "../control/world.ts";
import { lacks } from "../skips.ts";
import { keyOf } from "../verifier/build.ts";
import { type RunningWitness, startWitness } from "./witness.ts";

describe.skipIf(lacks("python3"))(
  "an outside witness, written from the specification in another language",
  () => {
    let world: World;
    let house: House;
    let witness: RunningWitness;
    let other: RunningWitness;
    beforeAll(async () => {
      world = await startWorld();
      house = await makeHouse(world, "acme");
      witness = await startWitness("witness.example/w1", keyOf("witness").seed);
      other = await startWitness("witness.example/w2", keyOf("other witness").seed);
    });
    afterAll(async () => {
      await Promise.all([witness.close(), other.close()]);
      await world.end();
    });

    /** One more record in the tenant's ledger. */
    const record = async (agentVersion: string) => {
      const bytes = manifestBytes(manifest({ agentVersion }));
      const asked = { requestId: requestId(), manifest: bytes };
      await world.client(ManifestService).recordManifest(asked, await house.as("OPERATOR"));
    };
    const tenant = () => {
      const found = world.running.tenants.get("acme");
      if (found === null) throw new Error("no tenant");
      return found;
    };
    const origin = () => originOf(tenant().controlLedgerId);
    const ledgerKey = () => tenant().controlGenesis.body.ledgerKey;
    const said: string[] = [];
    const open = (post: Post = postText, witnesses = [witness, other]) =>
      TenantWitnesses.open(tenant(), {
        crypto: native,
        clock: world.clock,
        tree: treeOf(native, tenant()),
        witnesses,
        post,
        say: (line) => said.push(line),
      });
    const signers = (note: string) => {
      const keys = [witness, other].map(({ name, key }) => ({
        role: "COSIGNER" as const,
        name,
        key,
      }));
      const opened = openNote(native, note, keys);
      return isInvalid(opened) ? opened.detail : opened.signatures.map((s) => s.signer.name);
    };

    test("that does not know the ledger is told of to whoever looks after this, once", async () => {
      said.length = 0;
      const asking = await open(postText, [witness]);
      await asking.round();
      await asking.round();
      expect(said).toEqual([
        "tenant acme, witness witness.example/w1: it does not know this ledger's origin: have it configured there",
      ]);
      expect(asking.note).toBe("");
      await witness.configure(origin(), keyOf("mallory").publicKey);
      await asking.round();
      expect(said.at(-1)).toMatch(/does not know the key that signs this ledger/);
    });

    test("cosigns the head, and each one that extends it; its note is what it shows to monitors", async () => {
      await witness.configure(origin(), ledgerKey());
      await other.configure(origin(), ledgerKey());
      const requests: string[] = [];
      const asking = await open((url, text) => {
        requests.push(text);
        return postText(url, text);
      });
      await asking.round();
      expect(signers(asking.note)).toEqual([witness.name, other.name]);
      const first = tenant().controlHead().size;
      for (let i = 0; i < 5; i++) await record(`one-${i}`);
      await asking.round();
      expect(requests.at(-1)).toMatch(new RegExp(`^old ${first}\n`));
      expect(signers(asking.note)).toEqual([witness.name, other.name]);
      const { size } = tenant().controlHead();
      expect(size).toBe(first + 5);
      expect(asking.note).toContain(`\n${size}\n`);
      expect(await witness.latest(origin())).toContain(`${origin()}\n${size}\n`);
      // It has not moved: nobody is asked, until the word grows old.
      const asked = requests.length;
      await asking.round();
      expect(requests).toHaveLength(asked);
      world.clock.advance(witnessAgainUs);
      await asking.round();
      expect(requests).toHaveLength(asked + 2);
      expect(said.filter((l) => /w2/.test(l))).toEqual([]);
    });

    test("is asked for its size by a control plane that forgot it, and proven to from there", async () => {
      const sizes: string[] = [];
      const asking = await open(
        (url, text) => {
          sizes.push(text.split("\n")[0] as string);
          return postText(url, text);
        },
        [witness],
      );
      await record("two");
      const { size } = tenant().controlHead();
      await asking.round();
      expect(sizes).toEqual(["old 0", `old ${size - 1}`]);
      expect(signers(asking.note)).toEqual([witness.name]);
    });

    test("refuses another history under the same key, and the size of an older one tells of a restore", async () => {
      const asking = await open(postText, [witness]);
      await record("three");
      await asking.round();
      const note = asking.note;
      const { size } = tenant().controlHead();
      // The same origin and key, and leaves that never were: what a forked control plane would send.
      const forked = await open(
        async (url, text) => {
          const proof = text.replace(/^old \d+\n/, (line) => `${line}${"A".repeat(43)}=\n`);
          return postText(url, proof);
        },
        [witness],
      );
      await record("four");
      said.length = 0;
      await forked.round();
      expect(said).toEqual([expect.stringMatching(/ANOTHER HISTORY/)]);
      expect(forked.note).toBe(note);
      const restored = await open(async () => ({ status: 409, text: `${size + 10}\n` }), [witness]);
      await restored.round();
      expect(said.at(-1)).toMatch(
        /has cosigned \d+ records of this ledger, and there are \d+: it was restored/,
      );
    });

    test("that answers badly, late or not at all never counts, and never stops anything", async () => {
      await record("five");
      const cases: [Post, RegExp][] = [
        [async () => ({ status: 200, text: "" }), /no line by/],
        [
          async () => ({ status: 200, text: "— witness.example/w1 AAAAAAAA\n" }),
          /no line by a trusted key/,
        ],
        [async () => ({ status: 409, text: "many\n" }), /answers 409/],
        [async () => ({ status: 500, text: "" }), /answers 500/],
        [() => postText("http://127.0.0.1:1/add-checkpoint", ""), /does not answer/],
      ];
      for (const [post, wanted] of cases) {
        const asking = await open(post, [witness]);
        const before = asking.note;
        said.length = 0;
        await asking.round();
        expect(said).toEqual([expect.stringMatching(wanted)]);
        expect(asking.note).toBe(before);
      }
    });

    test("is shown to whoever may see the tenant, beside the head of now", async () => {
      const asking = await open(postText, [witness]);
      await asking.round();
      await world.restart();
      const audit = world.client(AuditService);
      const answer = await audit.getCheckpoint({}, await house.as("VIEWER"));
      expect(signers(answer.witnessedNote)).toEqual([witness.name]);
      const now = parseCheckpoint(answer.note.slice(0, answer.note.indexOf("\n\n") + 1));
      expect(now).toMatchObject({
        ledgerId: tenant().controlLedgerId,
        size: tenant().controlHead().size,
      });
    });
  },
);

test("a witness's key has one spelling, and a policy file's faults are told by their line", async () => {
  const { publicKey: key } = keyOf("witness");
  const vkey = formatWitnessKey(native, { name: "witness.example/w1", key });
  expect(parseWitnessKey(native, vkey)).toEqual({
    role: "COSIGNER",
    name: "witness.example/w1",
    key,
  });
  // A key that signs checkpoints, not cosignatures: the example of signed-note.
  const log = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
  for (const bad of [
    log,
    vkey.replace("witness.example/w1", "other"),
    vkey.slice(0, -4),
    "",
    "a+b",
  ]) {
    expect(isInvalid(parseWitnessKey(native, bad))).toBe(true);
  }
  const folder = await mkdtemp(join(tmpdir(), "dragons-witness-"));
  const file = join(folder, "policy");
  const read = async (text: string) => {
    await writeFile(file, text);
    return readWitnesses(native, file).catch((error: Error) => error.message.replace(file, "FILE"));
  };
  const line = `witness one ${vkey} https://witness.example/`;
  expect(await read(`# ours\nlog ${log}\n\n\t${line}\nquorum one\n`)).toEqual([
    { name: "witness.example/w1", key, url: "https://witness.example/" },
  ]);
  expect(await read(`${line}\n${line}\n`)).toMatch(
    /FILE, line 2: witness.example\/w1 stands twice/,
  );
  expect(await read(`witness one ${vkey}\n`)).toMatch(/line 1: write it as: witness NAME VKEY URL/);
  expect(await read(`witness one ${log} https://w.example\n`)).toMatch(
    /line 1: .*no Ed25519 key for cosign/,
  );
  expect(await read(`witness one ${vkey} ftp://w.example\n`)).toMatch(
    /line 1: ftp:.*http or https/,
  );
  await rm(folder, { recursive: true });
});
