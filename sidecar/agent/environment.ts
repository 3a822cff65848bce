import { rootCertificates } from "node:tls";

/** Where the agent finds the proxy, and the authority that its certificates come from. */
export interface ProxyFacts {
  /** `127.0.0.1:7071` */
  readonly address: string;
  /** Of this launch alone; goes into the proxy address. */
  readonly credential: string;
  /** File with the sidecar's certificate authority alone, PEM. */
  readonly caFile: string;
  /** File with the public roots and the sidecar's authority, PEM: for clients that replace theirs. */
  readonly bundleFile: string;
}

/** The public roots followed by the sidecar's own authority, PEM. */
export const caBundle = (ca: string): string => [...rootCertificates, ca].join("\n");

/**
 * The environment of an agent that reaches the world through the proxy: its own, with every variable
 * set that some client stack reads, and every exception cleared. A convenience, not a wall: what
 * ignores it goes round, which is why nothing that was not sealed is called more than advisory.
 */
export function agentEnvironment(
  own: NodeJS.ProcessEnv,
  { address, credential, caFile, bundleFile }: ProxyFacts,
): NodeJS.ProcessEnv {
  const proxy = `http://agent:${credential}@${address}`;
  const env: NodeJS.ProcessEnv = { ...own };
  for (const name of ["no_proxy", "NO_PROXY", "no_grpc_proxy"]) delete env[name];
  const ours = {
    grpc_proxy: proxy,
    http_proxy: proxy,
    https_proxy: proxy,
    HTTP_PROXY: proxy,
    HTTPS_PROXY: proxy,
    NODE_USE_ENV_PROXY: "1",
    NODE_EXTRA_CA_CERTS: caFile,
    DENO_CERT: caFile,
    SSL_CERT_FILE: bundleFile,
    REQUESTS_CA_BUNDLE: bundleFile,
    CURL_CA_BUNDLE: bundleFile,
    GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: bundleFile,
    AWS_CA_BUNDLE: bundleFile,
    GIT_SSL_CAINFO: bundleFile,
    GIT_HTTP_PROXY_AUTHMETHOD: "basic",
    PIP_CERT: bundleFile,
    // npm's own settings, in its files, count for more than the variables above.
    npm_config_proxy: proxy,
    npm_config_https_proxy: proxy,
    // It passes over an empty one; under .invalid there is nobody.
    npm_config_noproxy: "nobody.invalid",
    npm_config_cafile: bundleFile,
  };
  // For `dragons mcp`, whose parent may have told it nothing else: where we are, and what leads here.
  return {
    ...env,
    ...ours,
    DRAGONS_SIDECAR: proxy,
    DRAGONS_SIDECAR_ENV: Object.keys(ours).join(" "),
  };
}
