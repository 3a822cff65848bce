import { describe, expect, test } from "vitest";
import { fromBase64, fromHex, toBase64, utf8 } from "./bytes.ts";
import {
  cosignCheckpoint,
  formatCheckpoint,
  type NoteKey,
  openNote,
  originOf,
  parseCheckpoint,
  signCheckpoint,
} from "./checkpoint.ts";
import type { Signer } from "./crypto.ts";
import { type Invalid, isInvalid } from "./invalid.ts";
import { noteSignaturesMax } from "./limits.ts";
import { noble } from "./noble.ts";

const signer = (n: number): Signer => {
  const seed = new Uint8Array(32).fill(n);
  return { publicKey: noble.publicKey(seed), sign: async (message) => noble.sign(seed, message) };
};
const [ledgerSigner, controlSigner, witnessSigner] = [signer(1), signer(2), signer(3)];
const checkpoint = {
  ledgerId: new Uint8Array(32).fill(0xab),
  size: 42,
  root: new Uint8Array(32).fill(0xcd),
};
const ORIGIN = `dragons/ledger/${"ab".repeat(32)}`;
const ROOT = "zc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc0=";
const SECONDS = 1_790_000_000;

const ledger: NoteKey = { role: "LEDGER", name: ORIGIN, key: ledgerSigner.publicKey };
const control: NoteKey = { role: "COSIGNER", name: "control.acme", key: controlSigner.publicKey };
const witness: NoteKey = {
  role: "COSIGNER",
  name: "witness.example",
  key: witnessSigner.publicKey,
};

const signed = await signCheckpoint(noble, checkpoint, ledgerSigner);
const cosigned = await cosignCheckpoint(
  noble,
  signed,
  { name: "control.acme", signer: controlSigner },
  SECONDS,
);
const codeOf = (opened: object | Invalid) => (isInvalid(opened) ? opened.code : "opened");
const openAll = (note: string) => openNote(noble, note, [ledger, control]);

describe("the text, as in C2SP tlog-checkpoint", () => {
  test("is origin, size and root", () => {
    expect(originOf(checkpoint.ledgerId)).toBe(ORIGIN);
    expect(formatCheckpoint(checkpoint)).toBe(`${ORIGIN}\n42\n${ROOT}\n`);
    expect(parseCheckpoint(`${ORIGIN}\n42\n${ROOT}\n`)).toEqual(checkpoint);
    expect(parseCheckpoint(`${ORIGIN}\n9007199254740991\n${ROOT}\n`)).toMatchObject({
      size: Number.MAX_SAFE_INTEGER,
    });
  });

  test.each([
    ["another origin", `dragons/other/${"ab".repeat(32)}\n42\n${ROOT}\n`],
    ["an upper-case id", `dragons/ledger/${"AB".repeat(32)}\n42\n${ROOT}\n`],
    ["a leading zero", `${ORIGIN}\n042\n${ROOT}\n`],
    ["a sign", `${ORIGIN}\n+42\n${ROOT}\n`],
    ["2^53", `${ORIGIN}\n9007199254740992\n${ROOT}\n`],
    ["stray bits in base64", `${ORIGIN}\n42\n${ROOT.replace("c0=", "c1=")}\n`],
    ["a short root", `${ORIGIN}\n42\n${toBase64(new Uint8Array(31))}\n`],
    ["no last newline", `${ORIGIN}\n42\n${ROOT}`],
    ["an extension line", `${ORIGIN}\n42\n${ROOT}\nmore\n`],
    ["a carriage return", `${ORIGIN}\r\n42\n${ROOT}\n`],
    ["nothing", ""],
  ])("refuses %s", (_, text) => {
    expect(codeOf(parseCheckpoint(text))).toBe("E_ENCODING");
  });
});

describe("the note, as in C2SP signed-note and tlog-cosignature", () => {
  test("lines carry key hash and signature over the text", () => {
    const [text, lines] = cosigned.split("\n\n") as [string, string];
    expect(`${text}\n`).toBe(formatCheckpoint(checkpoint));
    const [first, second] = lines.trimEnd().split("\n") as [string, string];
    const blob = fromBase64(first.slice(`— ${ORIGIN} `.length));
    const label = utf8(`${ORIGIN}\n`);
    const keyHash = noble.sha256(label, fromHex("01"), ledger.key).slice(0, 4);
    expect(blob.slice(0, 4)).toEqual(keyHash);
    expect(noble.verify(ledger.key, utf8(`${text}\n`), blob.slice(4))).toBe(true);

    const timed = fromBase64(second.slice("— control.acme ".length));
    const timedHash = noble.sha256(utf8("control.acme\n"), fromHex("04"), control.key).slice(0, 4);
    expect(timed.slice(0, 4)).toEqual(timedHash);
    expect(timed.slice(4, 12)).toEqual(fromHex("000000006ab13b80"));
    const message = utf8(`cosignature/v1\ntime ${SECONDS}\n${text}\n`);
    expect(noble.verify(control.key, message, timed.slice(12))).toBe(true);
  });

  test("opens to the checkpoint, and who signed it when", () => {
    expect(openAll(cosigned)).toEqual({
      checkpoint,
      text: formatCheckpoint(checkpoint),
      signatures: [
        { signer: ledger, timeSeconds: null, line: 0 },
        { signer: control, timeSeconds: SECONDS, line: 1 },
      ],
      unknown: [],
    });
  });

  test("names signers that are not trusted, and counts them for nothing", () => {
    const opened = openNote(noble, cosigned, [witness, ledger]);
    expect(opened).toMatchObject({ signatures: [{ signer: ledger }], unknown: ["control.acme"] });
    expect(codeOf(openNote(noble, cosigned, [witness]))).toBe("E_KEY_UNKNOWN");
    expect(codeOf(openNote(noble, cosigned, []))).toBe("E_KEY_UNKNOWN");
  });

  test("a trusted name with another key is a stranger", () => {
    const impostor = { ...control, key: witness.key };
    expect(openNote(noble, cosigned, [ledger, impostor])).toMatchObject({
      unknown: ["control.acme"],
    });
  });

  test("is refused when a trusted line does not verify, whatever the others say", () => {
    const other = { ...checkpoint, size: 43 };
    const moved = cosigned.replace(formatCheckpoint(checkpoint), formatCheckpoint(other));
    expect(codeOf(openAll(moved))).toBe("E_SIGNATURE");
    const line = cosigned.trimEnd().split("\n").at(-1) as string;
    const blob = fromBase64(line.slice("— control.acme ".length));
    blob[11] = (blob[11] as number) ^ 1;
    const later = cosigned.replace(line, `— control.acme ${toBase64(blob)}`);
    expect(codeOf(openAll(later))).toBe("E_SIGNATURE");
    const cut = cosigned.replace(line, `— control.acme ${toBase64(blob.slice(0, 40))}`);
    expect(codeOf(openAll(cut))).toBe("E_SIGNATURE");
  });

  test("a role's signature is not the other role's", async () => {
    // A ledger's plain signature under a cosigner's name and hash has no time in it.
    const asCosigner: NoteKey = { role: "COSIGNER", name: ORIGIN, key: ledger.key };
    expect(codeOf(openNote(noble, signed, [asCosigner]))).toBe("E_KEY_UNKNOWN");
  });

  test("is refused when a key signs twice, so that it cannot count for two", async () => {
    const by = { name: "control.acme", signer: controlSigner };
    const twice = await cosignCheckpoint(noble, cosigned, by, SECONDS + 1);
    expect(openAll(twice)).toMatchObject({
      code: "E_SIGNATURE",
      detail: expect.stringMatching(/signs twice/),
    });
  });

  test.each([
    ["no signature lines", formatCheckpoint(checkpoint)],
    ["an empty signature part", `${formatCheckpoint(checkpoint)}\n`],
    ["no last newline", signed.trimEnd()],
    ["a blank line at the end", `${signed}\n`],
    ["a hyphen for the dash", signed.replace("— ", "- ")],
    ["two spaces", signed.replace("— ", "—  ")],
    ["base64 with stray bits", signed.replace(/.=?\n$/, "!\n")],
    ["a line that is only a key hash", `${formatCheckpoint(checkpoint)}\n— x AAAAAA==\n`],
    ["more lines than are read", signed + "— x AAAAAAA=\n".repeat(noteSignaturesMax)],
  ])("refuses %s", (_, note) => {
    expect(codeOf(openAll(note))).toBe("E_ENCODING");
  });

  test("a cosigner's name has no space and no plus", async () => {
    for (const name of ["", "a b", "a+b", "a\n"]) {
      const by = { name, signer: controlSigner };
      await expect(cosignCheckpoint(noble, signed, by, SECONDS)).rejects.toThrow(TypeError);
    }
  });
});
