import {
  createPrivateKey,
  generateKeyPair,
  generateKeyPairSync,
  hash,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate,
} from "node:crypto";
import { isIP } from "node:net";
import { promisify } from "node:util";
import { compare, equal } from "../domain/bytes.ts";
import {
  bits,
  contentOf,
  type Der,
  elementsOf,
  explicit,
  implicit,
  integer,
  octets,
  oid,
  pem,
  sequence,
  set,
  TRUE,
  time,
  utf8String,
} from "./der.ts";

/**
 * Certificates of our own making (RFC 5280): the sidecar's CA that stands in for upstreams inside the
 * agent's tunnels, and the control plane's two, of its own certificate and of those of its sidecars. ECDSA
 * P-256 throughout, since every TLS stack an agent may bring verifies it; the keys that are certified
 * for sidecars are Ed25519, like everything that they sign with.
 */
const ECDSA_SHA256 = sequence(oid("1.2.840.10045.4.3.2"));

/** RFC 5280, the names of extensions and of what is in them. */
const COMMON_NAME = oid("2.5.4.3");
const SUBJECT_KEY_ID = oid("2.5.29.14");
const KEY_USAGE = oid("2.5.29.15");
const ALTERNATIVE_NAMES = oid("2.5.29.17");
const BASIC_CONSTRAINTS = oid("2.5.29.19");
const AUTHORITY_KEY_ID = oid("2.5.29.35");
const EXTENDED_KEY_USAGE = oid("2.5.29.37");
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
const USAGES = { server: oid("1.3.6.1.5.5.7.3.1"), client: oid(CLIENT_AUTH) };

/** Clocks of agents differ from ours: certificates begin this much before they are made. */
const BACKDATE_MS = 5 * 60_000;

/** A certificate with its private key. `keyPem` is a secret: a file of mode 0600, never a log. */
export interface Issued {
  /** The certificate, PEM. */
  readonly certPem: string;
  /** PKCS #8, PEM. */
  readonly keyPem: string;
  /** SHA-256 of the certificate (DER), 32 bytes. */
  readonly fingerprint: Uint8Array;
  readonly notAfterUs: number;
}

/** Who may issue. Its private key lives in this process and in the file it was loaded from. */
export interface CertificateAuthority extends Issued {
  readonly notBeforeUs: number;
  readonly key: KeyObject;
  /** Its name, as what it issues must spell it. */
  readonly subject: Der;
  /** Extension of what it issues: by which key. */
  readonly authorityKeyId: Der;
}

export interface IssueOptions {
  readonly nowUs: number;
  /** How long it is good for, microseconds. A leaf never outlives its issuer. */
  readonly ttlUs: number;
}

/** A root that may sign leaves and nothing below them. */
export async function createCa(
  commonName: string,
  options: IssueOptions,
): Promise<CertificateAuthority> {
  const { publicKey, privateKey } = await generateKeys();
  const spki = publicKey.export({ type: "spki", format: "der" });
  const subject = nameOf(commonName);
  const der = signed(privateKey, {
    issuer: subject,
    subject,
    spki,
    ...validity(options),
    extensions: [
      extension(BASIC_CONSTRAINTS, sequence(TRUE, integer(Uint8Array.of(0))), "CRITICAL"),
      KEY_CERT_SIGN,
      extension(SUBJECT_KEY_ID, octets(keyIdOf(spki))),
    ],
  });
  return loadCa(pem("CERTIFICATE", der), pkcs8(privateKey));
}

/** Reads back what `createCa` made. Throws when they are not a certificate and its key. */
export function loadCa(certPem: string, keyPem: string): CertificateAuthority {
  const cert = new X509Certificate(certPem);
  const key = createPrivateKey(keyPem);
  const isP256 = key.asymmetricKeyDetails?.namedCurve === "prime256v1";
  if (!isP256 || !cert.checkPrivateKey(key)) throw new Error("a certificate without its key");
  const der = new Uint8Array(cert.raw);
  const { subject, keyId } = whoIs(der);
  return {
    ...certificate(der, cert.validToDate),
    keyPem: pkcs8(key),
    notBeforeUs: cert.validFromDate.getTime() * 1000,
    key,
    subject,
    authorityKeyId: extension(AUTHORITY_KEY_ID, sequence(implicit(0, keyId))),
  };
}

/** The blocks of a PEM text, in its order: certificates, or keys. */
export const pemBlocks = (text: string): string[] =>
  text.match(/-----BEGIN [A-Z ]+-----[^-]*-----END [A-Z ]+-----\n?/g) ?? [];

/** Whether a certificate is of this private key, both PEM. Throws when one is neither. */
export const isKeyOf = (certPem: string, keyPem: string): boolean =>
  new X509Certificate(certPem).checkPrivateKey(createPrivateKey(keyPem));

export const certificateDer = ({ certPem }: Pick<Issued, "certPem">): Uint8Array =>
  new Uint8Array(new X509Certificate(certPem).raw);

/** PEM of a certificate, or of something that says it is one. */
export const certificatePem = (der: Uint8Array): string => pem("CERTIFICATE", der);

/**
 * The certificates in a PEM text, DER, ascending and unique: as a keyset names them. Throws when there
 * is none, or one that is no authority's.
 */
export function authoritiesIn(text: string): Uint8Array[] {
  const all = pemBlocks(text).map((pem) => new X509Certificate(pem));
  if (all.length === 0) throw new Error("holds no certificate in PEM");
  if (!all.every((c) => c.ca)) throw new Error("holds a certificate that is no authority's");
  const sorted = all.map((c) => new Uint8Array(c.raw)).sort(compare);
  return sorted.filter((der, i) => i === 0 || compare(sorted[i - 1] as Uint8Array, der) !== 0);
}

/** A TLS server's certificate for these host names and addresses (the first is its common name). */
export async function issueServer(
  ca: CertificateAuthority,
  hosts: readonly string[],
  options: IssueOptions,
): Promise<Issued> {
  const { publicKey, privateKey } = await generateKeys();
  const subject = { commonName: hosts[0] as string, hosts, uris: [], usages: ["server"] as const };
  const spki = publicKey.export({ type: "spki", format: "der" });
  return { ...issueLeaf(ca, subject, spki, options), keyPem: pkcs8(privateKey) };
}

export interface LeafSubject {
  readonly commonName: string;
  /** DNS names and IP addresses. */
  readonly hosts: readonly string[];
  /** Names of holders that are not hosts, such as an instance. */
  readonly uris: readonly string[];
  readonly usages: readonly ("server" | "client")[];
}

/**
 * A certificate for a key that somebody else holds.
 *
 * @param spki SubjectPublicKeyInfo, DER, of any kind of key.
 */
export function issueLeaf(
  ca: CertificateAuthority,
  { commonName, hosts, uris, usages }: LeafSubject,
  spki: Uint8Array,
  options: IssueOptions,
): Omit<Issued, "keyPem"> {
  const { notBefore, notAfter: wanted } = validity(options);
  const notAfter = new Date(Math.min(wanted.getTime(), ca.notAfterUs / 1000));
  const names = [...hosts.map(hostName), ...uris.map((uri) => implicit(6, ascii(uri)))];
  const der = signed(ca.key, {
    issuer: ca.subject,
    // A common name holds 64 characters; those who verify read the alternative names.
    subject: nameOf(commonName.slice(0, 64)),
    spki,
    notBefore,
    notAfter,
    extensions: [
      NO_AUTHORITY,
      DIGITAL_SIGNATURE,
      ca.authorityKeyId,
      extension(EXTENDED_KEY_USAGE, sequence(...usages.map((u) => USAGES[u]))),
      extension(ALTERNATIVE_NAMES, sequence(...names)),
    ],
  });
  return certificate(der, notAfter);
}

/** The SubjectPublicKeyInfo of a raw Ed25519 public key: RFC 8410. */
export const ed25519Spki = (key: Uint8Array): Uint8Array =>
  new Uint8Array(Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), key]));

/** A key pair for TLS of one's own, which somebody else certifies. `keyPem` is a secret. */
export function generateTlsKey(): { publicKey: Uint8Array; keyPem: string } {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  return {
    publicKey: new Uint8Array(publicKey.export({ type: "spki", format: "der" }).subarray(-32)),
    keyPem: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
}

/** What a certificate says, once it is known who says it. */
export interface ReadLeaf {
  /** Alternative names that are URIs. */
  readonly uris: readonly string[];
  readonly notBeforeUs: number;
  readonly notAfterUs: number;
}

/**
 * Reads a client's certificate (DER), or null when this authority did not issue it, it is for
 * something else, or `nowUs` lies outside of its time. Whoever shows it must have proven the key.
 */
export function readClientLeaf(
  ca: X509Certificate,
  der: Uint8Array,
  nowUs: number,
): ReadLeaf | null {
  const leaf = new X509Certificate(der);
  const begins = leaf.validFromDate.getTime() * 1000;
  const ends = leaf.validToDate.getTime() * 1000;
  const issued = leaf.checkIssued(ca) && leaf.verify(ca.publicKey);
  if (!issued || leaf.ca || !leaf.keyUsage?.includes(CLIENT_AUTH)) return null;
  if (nowUs < begins || nowUs >= ends) return null;
  const names = (leaf.subjectAltName ?? "").split(", ");
  const uris = names.flatMap((n) => (n.startsWith("URI:") ? [n.slice(4)] : []));
  return { uris, notBeforeUs: begins, notAfterUs: ends };
}

const extension = (id: Der, value: Der, critical?: "CRITICAL"): Der =>
  sequence(id, ...(critical === undefined ? [] : [TRUE]), octets(value));

const NO_AUTHORITY = extension(BASIC_CONSTRAINTS, sequence(), "CRITICAL");
// Bits from the left: 0 is digitalSignature, 5 keyCertSign, 6 cRLSign.
const DIGITAL_SIGNATURE = extension(KEY_USAGE, bits(Uint8Array.of(0x80), 7), "CRITICAL");
const KEY_CERT_SIGN = extension(KEY_USAGE, bits(Uint8Array.of(0x06), 1), "CRITICAL");

interface ToSign {
  readonly issuer: Der;
  readonly subject: Der;
  readonly spki: Der;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly extensions: readonly Der[];
}

const VERSION_3 = explicit(0, integer(Uint8Array.of(2)));

function signed(key: KeyObject, what: ToSign): Der {
  const body = sequence(
    VERSION_3,
    integer(randomSerial()),
    ECDSA_SHA256,
    what.issuer,
    sequence(time(what.notBefore), time(what.notAfter)),
    what.subject,
    what.spki,
    explicit(3, sequence(...what.extensions)),
  );
  return sequence(body, ECDSA_SHA256, bits(sign("sha256", body, key)));
}

/** The name and the key's id of a certificate, in its own spelling. @throws when it does not say the id. */
function whoIs(der: Der): { subject: Der; keyId: Uint8Array } {
  const [body = der] = elementsOf(der);
  const [, , , , , subject, , ...rest] = elementsOf(body);
  const extensions = rest
    .filter((e) => e[0] === 0xa3)
    .flatMap(elementsOf)
    .flatMap(elementsOf);
  const own = extensions.map(elementsOf).find(([id]) => id && equal(id, SUBJECT_KEY_ID));
  const value = own?.at(-1);
  if (subject === undefined || value === undefined) throw new Error("no authority of ours");
  return { subject, keyId: contentOf(contentOf(value)) };
}

const nameOf = (commonName: string): Der =>
  sequence(set(sequence(COMMON_NAME, utf8String(commonName))));

/** RFC 5280 §4.2.1.2, the first method: of the bits of the public key. */
function keyIdOf(spki: Der): Uint8Array {
  const key = contentOf(elementsOf(spki).at(-1) as Der).subarray(1);
  return hash("sha1", key, "buffer");
}

const hostName = (host: string): Der =>
  isIP(host) === 0 ? implicit(2, ascii(host)) : implicit(7, addressOf(host));

function addressOf(host: string): Uint8Array {
  if (isIP(host) === 4) return Uint8Array.from(host.split("."), Number);
  // In its one short spelling, and without a zone, which no certificate can name.
  const [head = "", tail = ""] = new URL(`http://[${host}]`).hostname.slice(1, -1).split("::");
  const groups = (text: string): string[] => text.split(":").filter((g) => g !== "");
  const [before, after] = [groups(head), groups(tail)];
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => "0");
  const all = [...before, ...zeros, ...after].map((g) => g.padStart(4, "0"));
  return Buffer.from(all.join(""), "hex");
}

/** Names are IA5Strings. @throws for a name that is none: nobody who reads it could mean the same. */
function ascii(text: string): Uint8Array {
  if (!/^[\x21-\x7e]+$/.test(text)) throw new TypeError("a name in a certificate is ASCII");
  return Buffer.from(text, "latin1");
}

/** To the second, as certificates say it. */
const validity = ({ nowUs, ttlUs }: IssueOptions): { notBefore: Date; notAfter: Date } => ({
  notBefore: new Date(Math.floor((nowUs / 1000 - BACKDATE_MS) / 1000) * 1000),
  notAfter: new Date(Math.floor((nowUs + ttlUs) / 1e6) * 1000),
});

const generate = promisify(generateKeyPair);
const generateKeys = () => generate("ec", { namedCurve: "P-256" });

const pkcs8 = (key: KeyObject): string => key.export({ type: "pkcs8", format: "pem" }).toString();

/** 126 random bits below 01: positive, and of one length. */
function randomSerial(): Uint8Array {
  const bytes = new Uint8Array(randomBytes(16));
  bytes[0] = ((bytes[0] as number) & 0x3f) | 0x40;
  return bytes;
}

const certificate = (der: Der, notAfter: Date): Omit<Issued, "keyPem"> => ({
  certPem: pem("CERTIFICATE", der),
  fingerprint: new Uint8Array(hash("sha256", der, "buffer")),
  notAfterUs: notAfter.getTime() * 1000,
});
