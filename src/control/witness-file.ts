import { readFile } from "node:fs/promises";
import type { Crypto } from "../domain/crypto.ts";
import { isInvalid } from "../domain/invalid.ts";
import { witnessesMax } from "../domain/limits.ts";
import { parseWitnessKey, type Witness } from "../domain/witness.ts";
import { ConfigError } from "./config.ts";

/**
 * Reads the witnesses to ask from a policy file as C2SP tlog-policy has it: lines of
 * `witness <name> <vkey> <url>`. Its logs, groups and quorum are for whoever verifies, and are passed over.
 * @throws ConfigError naming the line.
 */
export async function readWitnesses(crypto: Crypto, file: string): Promise<Witness[]> {
  const text = await readFile(file, "utf8").catch((error: Error) => {
    throw new ConfigError(`--witnesses: ${error.message}`);
  });
  const found: Witness[] = [];
  for (const [i, line] of text.split("\n").entries()) {
    const words = line.split(/[ \t]+/).filter((w) => w !== "");
    const bad = (why: string) => new ConfigError(`--witnesses: ${file}, line ${i + 1}: ${why}`);
    const [word, , vkey = "", url = ""] = words;
    if (word === undefined || word.startsWith("#")) continue;
    if (["log", "group", "quorum"].includes(word)) continue;
    if (word !== "witness" || words.length !== 4) {
      throw bad("write it as: witness NAME VKEY URL");
    }
    const key = parseWitnessKey(crypto, vkey);
    if (isInvalid(key)) throw bad(`${vkey}: ${key.detail}`);
    const parsed = URL.canParse(url) ? new URL(url) : null;
    if (parsed === null || !/^https?:$/.test(parsed.protocol) || parsed.search !== "") {
      throw bad(`${url}: write an http or https URL`);
    }
    if (found.some((w) => w.name === key.name)) throw bad(`${key.name} stands twice`);
    found.push({ name: key.name, key: key.key, url });
  }
  if (found.length > witnessesMax) {
    throw new ConfigError(`--witnesses: ${file}: at most ${witnessesMax} witnesses are asked`);
  }
  return found;
}
