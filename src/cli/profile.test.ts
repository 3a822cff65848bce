import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  isCommand,
  profilePath,
  readProfile,
  readReady,
  resolveSetting,
  SETTINGS,
} from "./profile.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "dragons-profile-"));
});
afterAll(() => rm(folder, { recursive: true }));

const file = async (content: unknown): Promise<string> => {
  const path = join(folder, "profile.json");
  await writeFile(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
};

describe("where a setting comes from", () => {
  const env = { DRAGONS_TENANT: "of the environment" };
  const profile = { tenant: "of the profile" };
  const from = (...given: [Record<string, unknown>, NodeJS.ProcessEnv, object]) =>
    resolveSetting("tenant", ...given);

  test("its flag, else the environment, else the profile, else its default", () => {
    expect(from({ tenant: "of the flag" }, env, profile)).toEqual({
      value: "of the flag",
      origin: "flag",
    });
    expect(from({}, env, profile).origin).toBe("environment");
    expect(from({}, { DRAGONS_TENANT: "" }, profile).origin).toBe("profile");
    expect(from({}, {}, {})).toEqual({ value: "", origin: "default" });
    expect(resolveSetting("control", {}, {}, {}).value).toBe("127.0.0.1:7443");
  });

  test("every setting has a flag and a variable of its own", () => {
    const all = Object.values(SETTINGS);
    expect(new Set(all.map((s) => s.flag)).size).toBe(all.length);
    expect(new Set(all.map((s) => s.env)).size).toBe(all.length);
  });

  test("which profile: its flag, else DRAGONS_PROFILE, else the one here", () => {
    expect(profilePath("/a.json", { DRAGONS_PROFILE: "/b.json" })).toBe("/a.json");
    expect(profilePath(undefined, { DRAGONS_PROFILE: "/b.json" })).toBe("/b.json");
    expect(profilePath(undefined, {})).toBe(join(process.cwd(), ".dragons", "profile.json"));
  });
});

describe("a profile", () => {
  test("that is not there sets nothing", () => {
    expect(readProfile(join(folder, "nowhere.json"))).toEqual({});
  });

  test("may name files beside it, and is moved with them; commands stay as they are", async () => {
    const path = await file({
      loginKey: "keys/login.key",
      trust: "/etc/trust",
      rootKey: "exec:aa kms",
    });
    expect(readProfile(path)).toEqual({
      loginKey: join(folder, "keys/login.key"),
      trust: "/etc/trust",
      rootKey: "exec:aa kms",
    });
    expect(isCommand("exec:aa kms")).toBe(true);
  });

  test.each([
    ["{", /is not JSON/],
    ["[]", /must be a JSON object/],
    ['{"tenent": "acme"}', /unknown setting tenent; known: control, /],
    ['{"tenant": 7}', /tenant must be a string/],
  ])("that is wrong says where: %s", async (content, says) => {
    const path = await file(content);
    expect(() => readProfile(path)).toThrow(says);
  });
});

test("a ready file is that of a control plane, or it is refused", async () => {
  const ready = { control: "h:1", controlCa: "/ca", audience: "dcp_1", bootstrapTokenFile: "/b" };
  expect(readReady(await file({ ...ready, pid: 7 }))).toEqual({
    control: "h:1",
    controlCa: "/ca",
    audience: "dcp_1",
    bootstrap: "/b",
  });
  const other = await file({ proxy: "h:2" });
  expect(() => readReady(other)).toThrow(/is no ready file of a control plane/);
  expect(() => readReady(join(folder, "nowhere"))).toThrow(/^--ready: ENOENT/);
});
