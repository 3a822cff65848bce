import { spawnSync } from "node:child_process";
import { createPrivateKey, createPublicKey, randomUUID, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  createFileRegistry,
  type DescMessage,
  fromBinary,
  fromJson,
  type JsonObject,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import grpc from "@grpc/grpc-js";

const HOME = join(import.meta.dirname, "../..");

/** What a stranger was given: an address, a certificate, a login key, and the proto files. */
export interface Given {
  readonly address: string;
  readonly caFile: string;
  readonly audience: string;
  readonly tenant: string;
  readonly operator: string;
  /** 32 bytes in hex. */
  readonly loginKeyFile: string;
}

/**
 * A client of OrganismService as somebody writes it who has nothing of ours but `proto/`: any gRPC
 * library, any protobuf library, any JWT library. None of our own code is used.
 */
export class Stranger {
  readonly #client: grpc.Client;
  readonly #given: Given;
  readonly #messages = protoFiles();

  constructor(given: Given) {
    this.#given = given;
    const ca = readFileSync(given.caFile);
    this.#client = new grpc.Client(given.address, grpc.credentials.createSsl(ca));
  }

  /** Opens a stream of answers, each as JSON. */
  watch(request: JsonObject): { events: Events; close(): void } {
    const [asked, answered] = [
      this.#messages.getMessage("dragons.v1.WatchRequest") as DescMessage,
      this.#messages.getMessage("dragons.v1.WatchResponse") as DescMessage,
    ];
    const metadata = new grpc.Metadata();
    metadata.set("authorization", `Bearer ${jwt(this.#given)}`);
    const stream = this.#client.makeServerStreamRequest(
      "/dragons.v1.OrganismService/Watch",
      (value: JsonObject) => Buffer.from(toBinary(asked, fromJson(asked, value))),
      (bytes: Buffer) => toJson(answered, fromBinary(answered, bytes)) as unknown as Told,
      request,
      metadata,
    );
    return { events: new Events(stream), close: () => stream.cancel() };
  }

  close(): void {
    this.#client.close();
  }
}

/** WatchResponse as protobuf's JSON spells it: 64-bit numbers are strings. */
export interface Told {
  readonly event: string;
  readonly revision: string;
  readonly resumeToken: string;
  readonly organism?: { readonly instanceId: string; readonly state: string };
}

/** Events of one stream, one after the other. */
export class Events {
  readonly #iterator: AsyncIterator<Told>;

  constructor(stream: grpc.ClientReadableStream<Told>) {
    this.#iterator = stream[Symbol.asyncIterator]() as AsyncIterator<Told>;
  }

  /** Everything up to and with the first event that is wanted. */
  async upTo(wanted: (event: Told) => boolean): Promise<Told[]> {
    const events: Told[] = [];
    for (;;) {
      const { done, value } = await this.#iterator.next();
      if (done === true) throw new Error("the stream ended");
      events.push(value);
      if (wanted(value)) return events;
    }
  }
}

function protoFiles() {
  const flags = ["build", "--as-file-descriptor-set", "-o", "-"];
  const built = spawnSync(join(HOME, "node_modules/.bin/buf"), flags, { cwd: HOME });
  if (built.status !== 0) throw new Error(built.stderr.toString());
  return createFileRegistry(fromBinary(FileDescriptorSetSchema, built.stdout));
}

/** RFC 7519 and RFC 8037, by hand. */
function jwt({ audience, tenant, operator, loginKeyFile }: Given): string {
  const seed = Buffer.from(readFileSync(loginKeyFile, "utf8").trim(), "hex");
  const pkcs8 = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
  const key = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" });
  const iat = Math.floor(Date.now() / 1000);
  const claims = {
    iss: operator,
    sub: operator,
    aud: audience,
    tenant,
    iat,
    exp: iat + 300,
    jti: randomUUID(),
  };
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const kid = Buffer.from(String(createPublicKey(key).export({ format: "jwk" }).x), "base64url");
  const text = `${part({ alg: "EdDSA", kid: kid.toString("hex"), typ: "JWT" })}.${part(claims)}`;
  return `${text}.${sign(null, Buffer.from(text), key).toString("base64url")}`;
}
