import { once } from "../../src/verifier/pack.ts";
import { verify } from "../../src/verifier/verify.ts";
import { crypto, type Story } from "./build.ts";

/** Seq, kind and repeated decision of each receipt, as the verifier tells them. */
export async function collectEntries(story: Story): Promise<[number, string, string][]> {
  const seen: [number, string, string][] = [];
  await verify(crypto, once(await story.pack()), {
    trust: story.trust,
    nowUs: story.nowUs,
    onReceipt: (_, { header, decision }) => seen.push([header.seq, header.kind, decision]),
  });
  return seen;
}
