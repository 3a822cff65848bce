import { CodecError } from "../../domain/canonical.ts";
import type { Crypto } from "../../domain/crypto.ts";
import { isInvalid } from "../../domain/invalid.ts";
import { manifestBytesMax } from "../../domain/limits.ts";
import {
  checkRecording,
  type Manifest,
  ManifestBody,
  manifestHash,
} from "../../domain/manifest.ts";
import { ManifestService } from "../../gen/dragons/v1/authority_pb.ts";
import type { Handlers } from "../../wire/rpc.ts";
import { operatorOf } from "../auth.ts";
import { badArgument, exactBytes, mutation, notFound, pageBySeq } from "./requests.ts";

export function manifestService(crypto: Crypto): Handlers<typeof ManifestService> {
  const { method } = ManifestService;
  return {
    recordManifest(request, context) {
      const operator = operatorOf(context);
      const { tenant } = operator;
      return mutation(method.recordManifest, operator, request, async () => {
        const bytes = request.manifest;
        const body = readManifest(bytes);
        const hash = manifestHash(crypto, bytes);
        const known = tenant.manifest(hash);
        return {
          entries: known === null ? [{ what: "manifest", artifact: { hash, bytes, body } }] : [],
          answer: (revision) => ({
            manifestHash: hash,
            revision: BigInt(known?.seq ?? revision),
          }),
        };
      });
    },

    async getManifest(request, context) {
      const { tenant } = operatorOf(context);
      const found = tenant.manifest(exactBytes(request.manifestHash, "manifest_hash"));
      if (found === null) throw notFound("manifest");
      await tenant.settled();
      return {
        manifest: found.artifact.bytes,
        recordedAtUs: BigInt(found.recordedAtUs),
        retiredEpoch: BigInt(tenant.revokedEpoch("MANIFEST", found.artifact.hash)),
      };
    },

    async listManifests(request, context) {
      const { tenant } = operatorOf(context);
      const page = pageBySeq(
        method.listManifests,
        request,
        tenant.manifests(),
        (m) => m.seq,
        (m) => m.artifact.bytes.length,
      );
      await tenant.settled();
      return {
        manifests: page.items.map(({ artifact, recordedAtUs }) => ({
          manifestHash: artifact.hash,
          manifest: artifact.bytes,
          recordedAtUs: BigInt(recordedAtUs),
          retiredEpoch: BigInt(tenant.revokedEpoch("MANIFEST", artifact.hash)),
        })),
        nextPageToken: page.nextPageToken,
      };
    },
  };
}

function readManifest(bytes: Uint8Array): Manifest {
  if (bytes.length > manifestBytesMax) {
    throw badArgument("manifest", `at most ${manifestBytesMax} bytes, has ${bytes.length}`);
  }
  try {
    const body = ManifestBody.decode(bytes);
    const problem = checkRecording(body);
    if (problem !== null && isInvalid(problem)) throw badArgument("manifest", problem.detail);
    return body;
  } catch (error) {
    if (error instanceof CodecError) throw badArgument("manifest", error.message);
    throw error;
  }
}
