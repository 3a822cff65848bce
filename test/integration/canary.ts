import { createHash, randomBytes } from "node:crypto";

/**
 * Text that stands nowhere else in the world, planted where it must not leave from. It has what
 * percent-encoding changes, and is long enough that its digests and thirds are as unmistakable.
 */
export const canary = (): string => `Kanari ~${randomBytes(18).toString("base64url")}`;

/** As a name of a method or a header, which take fewer characters. */
export const wordCanary = (): string => `kanari${randomBytes(18).toString("hex")}`;

export interface Trace {
  readonly name: string;
  readonly form: string;
  readonly bytes: Buffer;
}

/** Each way in which bytes could be written so that somebody still reads or recognises them. */
export function tracesOf(name: string, planted: Uint8Array): Trace[] {
  const data = Buffer.from(planted);
  const text = data.toString("latin1");
  const digest = createHash("sha256").update(data).digest();
  const everyByte = [...data].map((b) => `%${b.toString(16).padStart(2, "0")}`).join("");
  return [
    { name, form: "raw", bytes: data },
    { name, form: "reversed", bytes: Buffer.from(data).reverse() },
    { name, form: "lower case", bytes: Buffer.from(text.toLowerCase(), "latin1") },
    { name, form: "upper case", bytes: Buffer.from(text.toUpperCase(), "latin1") },
    { name, form: "UTF-16", bytes: Buffer.from(text, "utf16le") },
    { name, form: "percent-encoded", bytes: Buffer.from(encodeURIComponent(text)) },
    { name, form: "percent-encoded, plus", bytes: Buffer.from(text.replaceAll(" ", "+")) },
    { name, form: "percent-encoded whole", bytes: Buffer.from(everyByte) },
    { name, form: "percent-encoded whole, capitals", bytes: Buffer.from(everyByte.toUpperCase()) },
    ...written(name, "", data),
    { name, form: "SHA-256", bytes: digest },
    ...written(name, "SHA-256 in ", digest),
  ];
}

function written(name: string, of: string, data: Buffer): Trace[] {
  const hex = data.toString("hex");
  return [
    { name, form: `${of}hex`, bytes: Buffer.from(hex) },
    { name, form: `${of}HEX`, bytes: Buffer.from(hex.toUpperCase()) },
    // In base64 three bytes are written as one, so that what stands before decides how it looks. The
    // first and last characters are shared with neighbours, and left out.
    ...[0, 1, 2].flatMap((before) => {
      const from = before === 0 ? 0 : before + 1;
      const whole = Math.floor((before + data.length) / 3) * 4;
      return (["base64", "base64url"] as const).map((form) => {
        const all = Buffer.concat([Buffer.alloc(before), data]).toString(form);
        return {
          name,
          form: `${of}${form} +${before}`,
          bytes: Buffer.from(all.slice(from, whole)),
        };
      });
    }),
  ];
}

/** What was found of these in all that was sent; best none. */
export function found(traces: readonly Trace[], sent: readonly Buffer[]): string[] {
  return traces
    .filter(({ bytes }) => sent.some((part) => part.includes(bytes)))
    .map(({ name, form }) => `${name}: ${form}`);
}
