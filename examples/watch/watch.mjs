// Watches organisms: a client of the control plane that has nothing of Dragons but its proto files.
//
//     node examples/watch/watch.mjs READY_FILE
//
// READY_FILE is what `dragons dev --ready-file` writes. Needs @grpc/grpc-js and @grpc/proto-loader. A
// stream that breaks off is resumed where it was.
import { createPrivateKey, createPublicKey, randomUUID, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as after } from "node:timers/promises";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const ready = JSON.parse(readFileSync(process.argv[2], "utf8"));

/** A login: a JWT of ten minutes that the operator's own key signs. */
function token() {
  const seed = Buffer.from(readFileSync(ready.operatorKey, "utf8").trim(), "hex");
  const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
  const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  const { x } = createPublicKey(key).export({ format: "jwk" });
  const now = Math.floor(Date.now() / 1000);
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const head = { alg: "EdDSA", kid: Buffer.from(x, "base64url").toString("hex"), typ: "JWT" };
  const { operator, audience: aud, tenant } = ready;
  const claims = { iss: operator, sub: operator, aud, tenant, iat: now, exp: now + 600 };
  const signed = `${part(head)}.${part({ ...claims, jti: randomUUID() })}`;
  return `${signed}.${sign(null, Buffer.from(signed), key).toString("base64url")}`;
}

const proto = new URL("../../proto", import.meta.url).pathname;
const packages = loadSync("dragons/v1/organism.proto", {
  includeDirs: [proto],
  keepCase: true,
  enums: String,
  longs: String,
  defaults: true,
});
const { OrganismService } = grpc.loadPackageDefinition(packages).dragons.v1;
const client = new OrganismService(
  ready.control,
  grpc.credentials.createSsl(readFileSync(ready.controlCa)),
);

for (let resume = ""; ; ) {
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${token()}`);
  try {
    for await (const told of client.Watch({ resume_token: resume }, metadata)) {
      const { instance_id: instance = "", state = "ORGANISM_STATE_UNSPECIFIED" } =
        told.organism ?? {};
      console.log(told.event, told.revision, instance, state);
      // Within a snapshot there is none: a snapshot is whole, or begun anew.
      resume = told.resume_token || resume;
    }
  } catch (error) {
    if (error.code !== grpc.status.UNAVAILABLE) throw error;
  }
  // The control plane ended, or is not there yet: nothing is lost meanwhile.
  await after(1000);
}
