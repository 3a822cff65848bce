import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, expect, test } from "vitest";
import { TenantService } from "../../src/gen/dragons/v1/authority_pb.ts";
import { source, unsourced } from "../../src/gen/dragons/v1/sources_pb.ts";
import { TetherService } from "../../src/gen/dragons/v1/tether_pb.ts";
import {
  Health,
  HealthCheckResponse_ServingStatus as Serving,
} from "../../src/gen/grpc/health/v1/health_pb.ts";
import { ServerReflection } from "../../src/gen/grpc/reflection/v1/reflection_pb.ts";
import { createClient, openChannel, openServer, serve } from "../../src/wire/grpc.ts";
import { HealthState } from "../../src/wire/health.ts";
import { reflection } from "../../src/wire/reflection.ts";

const run = promisify(execFile);
const buf = join(import.meta.dirname, "../../node_modules/.bin/buf");

const health = new HealthState([TetherService.typeName]);
const server = openServer({
  transport: null,
  limits: {
    messageBytesMax: 4 * 1024 * 1024,
    streamsPerConnectionMax: 100,
    sessionMemoryMb: 32,
    idleUs: 60e6,
    ageUs: 3600e6,
    ageGraceUs: 1e6,
    keepaliveUs: 30e6,
    keepaliveTimeoutUs: 10e6,
  },
  onFault: (error) => {
    throw error;
  },
});
serve(server, Health, health.handlers);
serve(server, ServerReflection, reflection([Health, TenantService, TetherService]));
const port = await server.listen("127.0.0.1:0");
const channel = openChannel({
  address: `127.0.0.1:${port}`,
  tls: null,
  messageBytesMax: 4 * 1024 * 1024,
  keepaliveUs: 30e6,
  keepaliveTimeoutUs: 10e6,
});
const client = createClient(Health, channel);

afterAll(async () => {
  channel.close();
  await server.close(0);
});

/** `buf curl` with nothing of ours but the address: what any author of a client would type. */
async function curl(...args: string[]): Promise<string> {
  const { stdout } = await run(buf, [
    "curl",
    "--protocol",
    "grpc",
    "--http2-prior-knowledge",
    ...args,
  ]);
  return stdout;
}
const at = `http://127.0.0.1:${port}`;

test("a stranger's client finds every service, method and message by reflection", async () => {
  const services = (await curl(at, "--list-services")).trim().split("\n");
  expect(services.sort()).toEqual([
    "dragons.v1.TenantService",
    "dragons.v1.TetherService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
  ]);
  expect(await curl(at, "--list-methods")).toContain("dragons.v1.TetherService/Attach");
});

test("and calls them", async () => {
  const answer = await curl(
    "--data",
    `{"service":"${TetherService.typeName}"}`,
    `${at}/grpc.health.v1.Health/Check`,
  );
  expect(JSON.parse(answer)).toEqual({ status: "SERVING" });
});

test("what is not there is said to be so", async () => {
  await expect(client.check({ service: "no.Such" })).rejects.toMatchObject({ code: "NOT_FOUND" });
  async function* ask() {
    yield { messageRequest: { case: "fileContainingSymbol", value: "no.Such" } } as const;
  }
  for await (const answer of createClient(ServerReflection, channel).serverReflectionInfo(ask())) {
    expect(answer.messageResponse).toMatchObject({
      case: "errorResponse",
      value: { errorCode: 5 },
    });
  }
});

test("the options that say where numbers come from are found by the field options that they extend", async () => {
  const containingType = "google.protobuf.FieldOptions";
  async function* ask() {
    yield { messageRequest: { case: "allExtensionNumbersOfType", value: containingType } } as const;
    const value = { containingType, extensionNumber: source.number };
    yield { messageRequest: { case: "fileContainingExtension", value } } as const;
  }
  const answers = [];
  for await (const answer of createClient(ServerReflection, channel).serverReflectionInfo(ask())) {
    answers.push(answer.messageResponse);
  }
  expect(answers).toMatchObject([
    { value: { extensionNumber: [source.number, unsourced.number] } },
    { case: "fileDescriptorResponse" },
  ]);
});

test("health changes are told as they come, an unknown service too", async () => {
  const watch = client.watch({ service: "" })[Symbol.asyncIterator]();
  const unknown = client.watch({ service: "no.Such" })[Symbol.asyncIterator]();
  expect((await watch.next()).value).toMatchObject({ status: Serving.SERVING });
  expect((await unknown.next()).value).toMatchObject({ status: Serving.SERVICE_UNKNOWN });
  health.setServing(false);
  expect((await watch.next()).value).toMatchObject({ status: Serving.NOT_SERVING });
  expect((await client.check({ service: "" })).status).toBe(Serving.NOT_SERVING);
  health.setServing(true);
  expect((await watch.next()).value).toMatchObject({ status: Serving.SERVING });
  await watch.return?.(undefined);
  await unknown.return?.(undefined);
});
