/**
 * Every bound of the product, in one place: its unit is in the name or the comment, its reason beside
 * it. What is above a bound is refused with the bound named; nothing is trimmed in silence.
 */

const SECOND_US = 1_000_000;
const MINUTE_US = 60 * SECOND_US;
const KIB = 1024;
const MIB = 1024 * KIB;

// Authority in time

/** Microseconds. Long enough to survive a restart of the control plane, short enough to bound a partition. */
export const leaseTtlDefaultUs = 60 * SECOND_US;
/** A lease is renewed when this part of it has passed: a control plane may be away for the rest. */
export const leaseRenewedAt = 1 / 3;
/** Bytes of one signed lease on disk: 64 scopes with the longest names fit. A longer one is damage. */
export const leaseFrameBytesMax = 64 * KIB;
/** Microseconds. Below it a renewal at a third of the TTL would race the round trip. */
export const leaseTtlMinUs = 1 * SECOND_US;
/** Microseconds. Revocation across a partition takes at most this long, whatever a grant says. */
export const leaseTtlMaxUs = 24 * 60 * MINUTE_US;
/** Microseconds. How far ahead of ours a signer's clock may be before its word is not believed. */
export const clockSkewMaxUs = 1 * MINUTE_US;
/** Microseconds. How long a grant may only observe: a first week, and one more to act on what it showed. */
export const observeUsMax = 14 * 24 * 60 * MINUTE_US;
/** Microseconds. A login token that leaks is of use this long. */
export const loginTokenTtlUs = 10 * MINUTE_US;
/** Characters of a login token: names and a few claims; it is parsed before anybody is known. */
export const loginTokenCharsMax = 4096;
/** Characters of a request_id; a UUID fits thrice. Kept with its answer as long as the tenant is. */
export const requestIdMax = 128;

// What signed bodies may hold

/** Keys in a keyset: operators, issuer, cosigners, witnesses; each is checked on the curve when it is read. */
export const keysetKeysMax = 256;
/** Authorities of the control plane's certificate that a keyset names: the one in use, the next, and room. */
export const controlCasMax = 4;
/** Bytes of one of them, DER: those that the control plane makes have about 420. */
export const controlCaBytesMax = 2048;
/** Join keys of one dock. */
export const dockJoinKeysMax = 256;
/** Scopes in a manifest, a grant or a lease. A lease is sent to every sidecar each TTL/3. */
export const scopesMax = 64;
/** Rules of one scope; all of them are looked at when a refusal names the nearest. */
export const rulesPerScopeMax = 128;
/** UTF-16 units. Scope names stand in every receipt header. */
export const scopeNameMax = 64;
/** UTF-16 units. A pattern is run against every action's path, in time pattern × path. */
export const patternMax = 512;
/** UTF-16 units. Names and versions of manifests and tenants stand in file names and tables. */
export const nameMax = 63;
/** UTF-16 units. Purpose of a grant and reason of a revocation: shown whole in receipts and on the terminal. */
export const purposeMax = 512;
/** MCP servers of one manifest: each HTTP request is compared with all of them. */
export const mcpServersMax = 64;
/** UTF-16 units. `runtime` of a manifest. */
export const runtimeMax = 256;
/** Files of a manifest, code and configuration together; all are hashed again at each renewal. */
export const manifestFilesMax = 10_000;
/** Bytes of an encoded manifest: 10,000 files with long paths fit. */
export const manifestBytesMax = 4 * MIB;
/** UTF-16 units of one file's path: what Linux can open. */
export const manifestPathMax = 4096;
/** Files and folders looked through for a manifest's globs: a stray `**` over a whole disk ends here. */
export const manifestWalkMax = 200_000;
/** Folders of an agent that are watched for changes; beyond it, files are measured at renewals alone. */
export const watchedFoldersMax = 1024;
/** Microseconds of quiet after a file changed, before it is measured: files are written in several steps. */
export const driftSettleUs = SECOND_US / 20;
/** Microseconds between two such measurements: an agent that touches its files without end costs no more. */
export const driftAgainUs = 1 * SECOND_US;
/** Bytes of a `dragon.yaml`; it is written by hand. */
export const manifestYamlBytesMax = 256 * KIB;
/** Bytes of a file of expectations for `scope test`; it is written by hand. */
export const expectationsBytesMax = 1 * MIB;
/** Alternatives of one `{a,b}` in a glob or a pattern. */
export const alternativesMax = 32;
/** Bytes. A heartbeat is sent every few seconds by every organism. */
export const heartbeatBytesMax = 1024;

// What a claim may hold

/** Characters of a host name: RFC 1035. */
export const hostMax = 253;
/** UTF-16 units of a claim's path; longer ones are refused, never cut. */
export const claimPathMax = 4096;

// What a condition (`when`) may hold

/** UTF-16 units. A condition is one sentence that a person reads. */
export const whenMax = 1024;
/** Comparisons in one condition: whether it can hold at all is tried out, in up to 2 to their number. */
export const whenTestsMax = 16;
/** Parentheses and `!` inside each other. */
export const whenDepthMax = 8;
/** Keys on the way to one value: `json.a.b` has two. */
export const inputKeysMax = 8;
/** Different inputs that a manifest's conditions read: all of them may have to stand in one claim. */
export const manifestInputsMax = 64;
/** UTF-16 units of an input's value; a longer one cannot be read. It stands in the claim. */
export const inputValueMax = 1024;
/** Bytes of a body that a condition reads: it is held back whole until it is judged. */
export const conditionBodyBytesMax = 64 * KIB;
/** Microseconds for such a body to arrive: 13 KB a second will do. */
export const conditionBodyUs = 5 * SECOND_US;
/** Arrays and objects inside each other in such a body. */
export const jsonDepthMax = 32;

// The data path

/** Bytes of one gRPC message: what gRPC clients accept by default. */
export const messageBytesMax = 4 * MIB;
/** Bytes of one MCP message, either way: it is read whole before any of it passes. */
export const mcpMessageBytesMax = 4 * MIB;
/** Microseconds for the body of an MCP request to arrive: 140 KB a second will do. */
export const mcpBodyUs = 30 * SECOND_US;
/** Arrays and objects inside each other in an MCP message: schemas of tools nest deeper than payloads. */
export const mcpDepthMax = 64;
/** UTF-16 units of a JSON-RPC id: UUIDs fit several times; it is kept while its request is open. */
export const mcpIdMax = 256;
/** Bytes of one frame between a wrapper of an MCP server's pipes and the sidecar: what a pipe gives at once. */
export const pipeFrameBytesMax = 64 * KIB;
/** Bytes that wait in a wrapper for a side that does not read, before it holds both back. */
export const pipeWaitingBytesMax = 16 * MIB;
/** Microseconds that a wrapper waits for a server's last words, or for its end when it is told to. */
export const mcpWrapGraceUs = 2 * SECOND_US;
/** Ids on one pipe whose calls ended unanswered: none is used again before its server has answered it, or so many. */
export const mcpUnansweredMax = 1024;
/** Requests in one session of an MCP server to an agent that wait for an answer; beyond it they are refused. */
export const mcpAsksMax = 64;
/** Calls at MCP servers whose streams ended unanswered and that wait to be taken up again, each with its message; others fail at once. */
export const mcpResumesMax = 64;
/** Ids of events, the newest of each call, that it can be taken up from: as many may be on their way to its agent. */
export const mcpEventIdsMax = 256;
/** Bytes of such an id; from an event with a longer one nothing is taken up. */
export const mcpEventIdMax = 256;
/** Microseconds that such a call waits while nobody listens: SDKs come back within seconds, or as their server says. */
export const mcpResumeUs = 5 * MINUTE_US;
/** Bytes of a language model's answer, or of one event of it, that is read for its model and tokens; longer ones are not. */
export const genAiBytesMax = 1 * MIB;
/** Tasks and questions of MCP servers whose first receipt is remembered, 200 bytes each: what goes on after so many newer ones is refused. */
export const mcpTrailsMax = 8192;
/** Bytes of one header list: what grpc-go and nghttp2 accept by default is 8–16 KiB. */
export const headerListBytesMax = 16 * KIB;
/** Bytes of one WebSocket message: none of it is kept here, and what sends more means a stream. */
export const webSocketMessageBytesMax = 64 * MIB;
/**
 * Bytes of a TLS ClientHello: post-quantum key shares make some 2 KiB of one, and a resumed session's
 * ticket may be longer. It is one handshake message; what is longer is not waited for.
 */
export const clientHelloBytesMax = 32 * KIB;
/** Records that a ClientHello may come in: clients send one, or two for a long one. */
export const clientHelloRecordsMax = 4;
/** Bytes that an opaque scope is offered where nobody said how many: a start, to be raised by a grant. */
export const opaqueBytesOffered = 10_000_000;
/** Bytes of the line that begins a chunk: its size, and extensions that nobody uses. */
export const chunkLineBytesMax = 256;
/** Informational answers before the final one: 100 and a few hints. */
export const informationsMax = 16;
/** Microseconds that a connection to us may be idle between two HTTP/1 requests. */
export const http1IdleUs = 5 * MINUTE_US;
/** Microseconds for the head of an HTTP/1 request, from its first byte: a slow one holds a place. */
export const http1HeadUs = 10 * SECOND_US;
/** Microseconds in which a client may still read a refusal while what it sends is thrown away. */
export const lingerUs = 2 * SECOND_US;
/** Microseconds after which an idle HTTP/1 connection upstream is closed: servers close theirs after 5 s or more. */
export const http1UpstreamIdleUs = 4 * SECOND_US;
/** Microseconds within which an idle HTTP/1 connection is trusted with what cannot be sent twice. */
export const http1UpstreamFreshUs = 1 * SECOND_US;
/** HTTP/1 connections to one upstream at once: each carries one request. */
export const http1ConnectionsMax = 256;
/** Streams at once on one connection: HTTP/2 asks for no fewer than 100. */
export const streamsPerConnectionMax = 256;
/** Metadata fields of one call: nghttp2 would take any number of tiny ones. */
export const headerPairsMax = 256;
/** Agent connections at once; each costs up to 40 KB before it says anything. */
export const connectionsMax = 1024;
/** Port that a gateway listens on, unless another is said: the one that service meshes have made known. */
export const gatewayPort = 15_001;
/** Names that one instance may look up: each has an address of its own, for good. */
export const fakeNamesMax = 65_536;
/** Bytes of one look-up: a name of 255, and options with a cookie or padding. */
export const dnsMessageMax = 1024;
/** Microseconds that a connection for look-ups may stay open; RFC 7766 asks for a few seconds. */
export const dnsIdleUs = 10 * SECOND_US;
/** Microseconds that a new connection may be silent before it is reset: clients speak first. */
export const sniffUs = 1_500_000;
/** Microseconds for a TLS handshake, agent's or upstream's, and for a TCP connection. */
export const handshakeUs = 10 * SECOND_US;
/** Stream resets that may come at once on one connection, and per second after that: cancelling is normal. */
export const streamResetBurst = 10_000;
export const streamResetRate = 1_000;
/** SETTINGS that may come at once on one connection, and per second after that: each touches all of its streams. */
export const settingsBurst = 100;
export const settingsRate = 10;
/** Frames without effect (pings, empty data, unknown ones), likewise: grpc-go pings once a round trip, thousands a second on one machine. */
export const noiseBurst = 20_000;
export const noiseRate = 10_000;
/** Frames of one header block: 32 KiB come in three, and nobody needs ten times as many. */
export const continuationsMax = 32;
/** Heads of 1xx before one answer; each waits for an agent that does not read. */
export const informationalMax = 16;
/** Bytes of answers that wait for a peer which makes us answer and does not read. */
export const outboundBytesMax = 1 * MIB;
/** Streams that we reset and whose frames may still be under way, remembered on one connection. */
export const forgivenStreamsMax = 4096;
/** Microseconds for the last words of a connection to leave. */
export const goodbyeUs = 1 * SECOND_US;
/** Bytes of one stream that may be on their way before the reader has taken them. */
export const streamWindowBytes = 256 * KIB;
/** Bytes of a request kept until its upstream answers, so that a refused stream can be tried again. */
export const replayBytesMax = 64 * KIB;
/** Times a call is sent again after the upstream refused it unprocessed. */
export const replaysMax = 2;
/** Microseconds that an admitted unary call may go on after its lease expired. */
export const unaryGraceUs = 5 * SECOND_US;
/** Microseconds that a cut waits for the end of a message that is already half delivered. */
export const cutBoundaryUs = 250_000;
/** Microseconds after which an unused upstream connection is closed. */
export const upstreamIdleUs = 60 * SECOND_US;
/** Microseconds for which an upstream that agreed on HTTP/1.1 is not asked for HTTP/2 again: each asking is a connection. */
export const upstreamHttp1Us = 10 * MINUTE_US;
/** Upstreams of which that is remembered: more than an agent talks to at a time; the oldest is asked again. */
export const upstreamHttp1Max = 1024;
/** Microseconds after which an upstream connection takes no new calls, so that names are resolved again. */
export const upstreamAgeUs = 10 * MINUTE_US;
/** Connections to one upstream at once; more only when all their streams are taken. */
export const connectionsPerUpstreamMax = 8;
/** Server certificates minted for tunnels and remembered. */
export const mintedLeavesMax = 256;
/** Microseconds that a minted server certificate is good for. */
export const mintedLeafTtlUs = 24 * 60 * MINUTE_US;
/**
 * A lease holds a slab of what its grant counts: one part in so many, and at least so many actions and
 * bytes. It is all that a sidecar can spend unheard of, so small enough to be lost, and large enough
 * that a busy one, which renews early when half of it is gone, seldom waits for the next.
 */
export const slabShare = 10;
export const slabActionsMin = 100;
export const slabBytesMin = 1 * MIB;
/**
 * Bytes reserved for an action at a time, where its scope limits them: a sixteenth of what is left,
 * within these. Large enough that a stream rarely waits for the disk, small enough that calls side by
 * side do not hold what others could use.
 */
export const byteBlockMin = 4 * KIB;
export const byteBlockMax = 256 * KIB;
/** Intents open at once. After a crash each becomes one INDETERMINATE receipt. */
export const openIntentsMax = 10_000;
/** Microseconds in which identical denials are counted in one receipt. */
export const denialWindowUs = 1 * SECOND_US;
/** Different denials counted at once, each with its claim in memory; beyond it each has its own receipt. */
export const denialsCountedMax = 1024;

// The ledger

/** Receipts chained but not yet signed: a quarter of a second of one core's signatures. */
export const unsignedReceiptsMax = 10_000;
/** Microseconds that an action waits for its durable intent, or a batch for its signatures, before work is refused. */
export const ledgerDeadlineUs = 1 * SECOND_US;
/** Microseconds that a receipt waits for an intent to ride along with: a crash within it costs an INDETERMINATE. */
export const receiptLingerUs = 20 * 1000;
/** Microseconds that a receipt waits for others to be signed with. */
export const signingLingerUs = 5 * 1000;
/** Receipts worth a message to the signer at once. */
export const signingBatch = 64;
/** Receipts in one such message: 6 to 10 ms of signatures, so that news of them comes that often. */
export const signingBatchMax = 256;
/** Unsigned receipts from which on new intents wait: the signer sets the pace before anybody is refused. */
export const unsignedReceiptsBrake = 1024;
/** Receipts whose signatures and links are verified at every start; `ledger check` verifies all. */
export const recoveryTail = 1000;

/** Bytes of each half of the journal; both are allocated at the first start, and read whole at every one. */
export const journalHalfBytes = 1 * MIB;
/** Bytes in the journal from which on they move to the store beneath: some 150 actions in one commit. */
export const journalApplyBytes = 256 * KIB;
/** Bytes written to the database beneath before it is opened anew, in 1 to 2 ms: a third of them stay mapped. */
export const mappedBytesMax = 16 * MIB;

// Signs of life

/** Microseconds between heartbeats. */
export const heartbeatIntervalUs = 10 * SECOND_US;
/** Microseconds between heartbeats under `dragons dev`, where people watch. */
export const heartbeatIntervalDevUs = 1 * SECOND_US;
/** Microseconds between heartbeats, at least: each is signed, sent, verified and answered. */
export const heartbeatIntervalUsMin = SECOND_US / 4;
/** Microseconds of standstill that a grant may call one: below is a slow call, above nobody would hear of it. */
export const stallUsMin = 1 * SECOND_US;
export const stallUsMax = 30 * 24 * 60 * MINUTE_US;
/**
 * Microseconds that one which docked keeps its place in its grant without a beat: a sidecar attaches at once, or
 * waits in line with its fleet for a minute or two; who is gone before its first beat falls silent to nobody.
 */
export const firstBeatUs = 5 * MINUTE_US;
/** Microseconds. A beat may not put the next one off further: silence must show within minutes. */
export const heartbeatDeclaredUsMax = 5 * MINUTE_US;
/** Microseconds. Pauses that are nobody's death: a garbage collection, a scheduler, a retransmission. */
export const pauseUs = 1 * SECOND_US;
/** Microseconds. The bar of silence is never lower, however regular the arrivals were. */
export const silenceBarUsMin = 2 * SECOND_US;
/** Microseconds that a fleet needs to connect again after the control plane was away. */
export const fleetReconnectUs = 30 * SECOND_US;
/** Microseconds. Two signs of our own life further apart: we were not listening in between. */
export const observerGapUs = 5 * SECOND_US;
/** Microseconds. An organism may not teach us patience without end by beating ever more unevenly. */
export const silenceBarUsMax = 10 * MINUTE_US;
/** Stretches of the control plane's own uptime that are remembered: enough for one transition's evidence. */
export const observerIntervalsMax = 16;
/** Microseconds in which novelty is counted, and into how many parts, which expire one by one. */
export const noveltyWindowUs = 10 * MINUTE_US;
export const noveltyWindowParts = 10;
/** Fingerprints remembered at each level: about half a megabyte each. The longest unseen go first. */
export const fingerprintsMax = 4096;

// Remedies

// An agent that is started again

/** Microseconds before the first restart; doubled each time, up to the last. */
export const agentBackoffMinUs = 1 * SECOND_US;
export const agentBackoffMaxUs = 60 * SECOND_US;
/** Microseconds after which a start has lasted, and the next failure is the first again. */
export const agentSettledUs = 5 * MINUTE_US;
/** Restarts in a row of which none lasted: then it has failed. */
export const agentRestartsMax = 8;
/** Microseconds between asking it to end and ending it. */
export const agentTermUs = 5 * SECOND_US;

/** Microseconds that a condition lasts before anything is tried: most pass by themselves. */
export const remedyPatienceUs = 30 * SECOND_US;
/** Microseconds that one remedy has to work. */
export const remedyUs = 60 * SECOND_US;
/** Microseconds before all remedies are tried again; doubled each time, up to the last. */
export const remedyBackoffMinUs = 5 * MINUTE_US;
export const remedyBackoffMaxUs = 60 * MINUTE_US;

// Batches

/** Receipt headers sent to the control plane in one message: about 40 KB, and 4 ms to verify. */
export const syncBatchMax = 64;
/** Objects in one page of a List answer. */
export const pageSizeMax = 1000;
/** Objects in one page when none was asked for. */
export const pageSizeDefault = 100;

// Stores

/** Bytes of a key: what LMDB takes on its smallest pages; far above any key here. */
export const storeKeyBytesMax = 511;
/** Bytes of a key of the control plane's: the same, less what is put in front, tenant, separators, seq. */
export const controlKeyBytesMax = 400;

// Signatures

/** Signatures on one object: more than any threshold asks for, and each costs a verification. */
export const signaturesMax = 16;
/** Signatures on one note: the ledger's, the control plane's, and a generous row of witnesses. */
export const noteSignaturesMax = 16;
/**
 * Public keys whose check and parsed form are kept, about a kilobyte each: first sight costs a tenth of one in processor time.
 * More than sidecars can be connected at once, or each beat would be a first sight.
 */
export const keysRememberedMax = 32_768;
/** Tables of a point's multiples, about a megabyte each, for the keys that sign most: ledgers of one pack. */
export const keyTablesMax = 8;
/** Milliseconds that an external signer may take: it may ask a person or a distant KMS. */
export const externalSignerMsMax = 10_000;

// The control plane as a server

/** Records of a tenant ledger that an export reads at once: each may be a whole manifest. */
export const recordsAtOnce = 16;
/** Bytes of records after which an export sends a message. */
export const recordsChunkBytes = 256 * KIB;

/** Bytes of one message to or from the control plane: a whole manifest, or a page, with room to spare. */
export const controlMessageBytesMax = 8 * MIB;
/**
 * Bytes of one message from whom nothing is proven yet: a genesis, an enrolment, the name of a service,
 * four times over. With all calls of a connection, and all connections of an address, 512 MiB.
 */
export const strangerMessageBytesMax = 4 * KIB;
/** Bytes of artifacts after which a page is closed, whatever size was asked for; one always fits. */
export const pageBytesMax = 2 * MIB;
/** Calls at once on one connection to the control plane: a console with its watches, many times over. */
export const controlStreamsMax = 256;
/** MB that one connection to the control plane may hold. */
export const controlSessionMemoryMb = 32;
/** Microseconds after which a connection without calls is closed. */
export const controlIdleUs = 10 * MINUTE_US;
/** Microseconds after a commit that several commands shared, in which more are gathered for the next one. */
export const commitGatheredUs = SECOND_US / 50;
/** The same of signatures that are checked beside. */
export const checksGatheredUs = SECOND_US / 500;
/** Microseconds between two times that the pages of its database which it has read are let go of. */
export const mappedForgottenUs = SECOND_US;
/** The same of its own code: what is in use comes back out of the kernel's cache within milliseconds. */
export const codeForgottenUs = MINUTE_US;
/** Microseconds after which a connection takes no new calls, so that load spreads again; a tether attaches anew. */
export const controlAgeUs = 4 * 60 * MINUTE_US;
/** Microseconds that calls under way on such a connection are given. */
export const controlAgeGraceUs = 60 * MINUTE_US;
/**
 * Microseconds that a sidecar's certificate is good for. It is renewed from half of it on, which is
 * longer than a connection lives: none that was begun with it outlasts it.
 */
export const sidecarCertificateTtlUs = 12 * 60 * MINUTE_US;
/** Microseconds that the words a sidecar enrols with are good for: long enough for clocks that differ. */
export const enrolSkewUs = 5 * MINUTE_US;
/** Connections of sidecars at once; each of 10,000 may be dialling anew before its last one is known to be gone. */
export const sidecarConnectionsMax = 20_000;
/** Connections of everybody else at once, during their handshake and after it, and of one address among them. */
export const anonymousConnectionsMax = 2_048;
export const anonymousPerAddressMax = 512;
/** Connections of anybody that wait for their handshake: a fleet that lost its network comes back at once. */
export const waitingConnectionsMax = 16_384;
/** Handshakes begun in one turn of the event loop, some half a millisecond each: whoever beats is not held up. */
export const handshakesPerTurn = 16;
/**
 * Handshakes under way at once, not counting those that have taken so many microseconds: enough for peers a
 * hundred milliseconds away, and few enough that each is soon done. Whoever dawdles holds nobody up.
 */
export const handshakesAtOnce = 64;
export const handshakeSlowUs = 500_000;
/** Microseconds that a connection waits for its handshake, at most. Our own clients wait for that and the handshake. */
export const waitingUsMax = 30 * SECOND_US;
/**
 * Calls without a credential that may come at once, and each second after that: of all, and of one
 * address. An enrolment costs a millisecond; a fleet of 1,000 behind one address docks and enrols at once.
 */
export const strangerCalls = { burst: 10_000, perSecond: 400 } as const;
export const strangerCallsPerAddress = { burst: 4_000, perSecond: 200 } as const;
/** Attachments that one ledger may begin at once, and each second after that: a sidecar tries four a second. */
export const attachCalls = { burst: 64, perSecond: 4 } as const;
/** Beats of one ledger, likewise: four a second are the most that a grant asks for, and news is told between them. */
export const ledgerBeats = { burst: 256, perSecond: 16 } as const;
/** Callers whose calls are counted at once; the one unheard of for longest is forgotten. */
export const callersCountedMax = 16_384;
/** Second uses of one join key that raise an alarm of their own: a token that leaked must not fill a ledger. */
export const joinKeyAlarmsMax = 16;
/** Microseconds between pings of a quiet peer, and for its answer: a half-open tether is found in a minute. */
export const controlKeepaliveUs = 30 * SECOND_US;
export const controlKeepaliveTimeoutUs = 20 * SECOND_US;
/** Microseconds that calls under way are given when the control plane stops. */
export const drainUs = 10 * SECOND_US;

// The keeper of a sealed agent

/** Microseconds that a canary waits for an answer before it says that there is none. */
export const trialPatienceUs = 5 * SECOND_US;
/** Microseconds that a sidecar waits for its first lease before it answers the waiting that it has none. */
export const takeOverUs = 10 * SECOND_US;
/** Microseconds between two questions whether the sidecar is there. */
export const keeperPingUs = 5 * SECOND_US;
/** Questions in a row that a sidecar may leave unanswered: half a minute without a turn of its loop is no load. */
export const keeperPingsMax = 6;
/** Microseconds before a sidecar that ended is started again; doubled with each that soon ends, too. */
export const keeperBackoffUs = 200_000;
/** Microseconds. A disk or a file that somebody mends is found mended this soon. */
export const keeperBackoffMaxUs = 10 * SECOND_US;
/** Microseconds. A sidecar that lived this long did not end for what the one before it did. */
export const keeperSteadyUs = 1 * MINUTE_US;
/** Microseconds that a sidecar is given to end: what drains, and what it tells the disk and the centre. */
export const keeperPatienceUs = drainUs + 10 * SECOND_US;

/** Microseconds that the control plane's own CA is good for: sidecars pin it in their join tokens. */
export const controlCaTtlUs = 10 * 365 * 24 * 60 * MINUTE_US;
/** Microseconds that its server certificate is good for; made anew at each start, and at half of it. */
export const controlLeafTtlUs = 30 * 24 * 60 * MINUTE_US;
/** Microseconds until a renewal that failed is tried again; half of the certificate's life is left for it. */
export const retryRenewalUs = 60 * MINUTE_US;

/** Watchers of the server's health at once: probes watch, people do not. */
export const healthWatchersMax = 256;

// Sessions with sidecars

/** Microseconds that a sidecar has for each step of attaching; until then nobody is known. */
export const attachStepUs = 10 * SECOND_US;
/** Messages that wait for one sidecar to read them; one that reads none is as good as gone. */
export const tetherBacklogMax = 256;
/** Microseconds after which everybody is told of a revocation that concerns others: with all that came meanwhile. */
export const revocationsTogetherUs = 250_000;
/** Revocations in one message to a sidecar: some 25 KiB. */
export const revocationsAtOnceMax = 64;
/** Sidecars that are told them in one go, and microseconds until the next are: between, beats are answered. */
export const sessionsToldAtOnce = 500;
export const sessionsToldEveryUs = 10_000;
/** Batches of receipts that one sidecar may have under way. */
export const syncCreditMax = 4;
/** Microseconds after which a session that was told it is over must have stopped beating. */
export const supersededGraceUs = 10 * SECOND_US;
/** Microseconds after which a head that stands still is cosigned again: as fine is what is proven of inactivity. */
export const cosignedAgainUs = 60 * SECOND_US;
/** Leaves kept in memory above a ledger's tree, so that a head a little behind can be checked. */
export const leavesRememberedMax = 1024;
/** Microseconds between the control plane's own signs of life, by which it judges silence. */
export const observeEveryUs = 1 * SECOND_US;
/** Microseconds. Where somebody has waited so long to be let in, whoever is not heard of may be behind them. */
export const waitedLongUs = 1 * SECOND_US;
/** Microseconds between writes of when it listened: after a crash as much is forgotten. */
export const observedStoredUs = 10 * SECOND_US;
/** Microseconds that what a beat changed may wait to be stored: a crash forgets as much, a stop nothing. */
export const organismStoredUs = 60 * SECOND_US;
/** Organisms of one tenant whose views lie open, as those that were opened last. */
export const viewsOpenMax = 192;
/** Sessions that one process may grant one ledger: four a second for two years. */
export const sessionsPerOwner = 2 ** 28;
/** Those of all processes since the backup that a control plane is restored from: of 65,536. Times 512 is 2^53. */
export const sessionsPerRestore = 2 ** 44;
/**
 * Records of a tenant ledger from one snapshot to the next, at least: a start walks as many in less than a
 * second, and what a snapshot takes is little beside them.
 */
export const snapshotRecordsMin = 8192;
/** Bytes of a snapshot for which one record more may pass: so that a large tenant's are no larger a share. */
export const snapshotBytesPerRecord = 64;
/** Bytes of a snapshot in one row: a database finds room for a few pages in a row, and not for thousands. */
export const snapshotPartBytes = 64 * KIB;
/** Microseconds after a start before it looks back: until then a fleet connects again. */
export const lookBackAfterUs = 60 * SECOND_US;
/** Records that are looked back at in one go, in some 3 ms, when a control plane has started from a snapshot. */
export const lookBackRecords = 64;
/** Parts of the time, of which looking back takes one. */
export const lookBackShare = 32;
/** Rows written at once when a backup is restored. */
export const restoreBatchRows = 1000;
/** Microseconds after a release in which a beat may still say what was released: half the usual interval. */
export const releaseCrossingUs = 5 * SECOND_US;
/** Microseconds that a directive is good for. */
export const directiveTtlUs = 5 * MINUTE_US;

// Watching

/** Changes that wait for one watcher; beyond it the watcher is cut, with the token to resume from. */
export const watchBacklogMax = 1024;
/** Records that a resumed watch may have missed; beyond it, it is quicker to list again. */
export const watchReplayMax = 100_000;
/** Microseconds of quiet after which a watcher gets a bookmark. */
export const bookmarkUs = 30 * SECOND_US;
/** Watches at once in one tenant. */
export const watchersMax = 1024;

// The command line

/** Microseconds that one call of a command may take; streams take as long as they are watched. */
export const commandCallUs = 30 * SECOND_US;
/** Microseconds that a sidecar may take to walk its whole ledger: every signature of it is verified. */
export const ledgerCheckUs = 60 * MINUTE_US;
/** Tries at a revocation's epoch that others may take first. */
export const revocationTriesMax = 5;
/** Characters of a proposal file: a keyset of the most keys, in hex, with its signatures. */
export const proposalBytesMax = 1024 * 1024;
/** Microseconds for which a key that was replaced may still sign, when it is not said. */
export const keyOverlapUs = 24 * 60 * MINUTE_US;
/** Microseconds between tries of a watch whose stream was lost. */
export const watchRetryUs = 1 * SECOND_US;
/** Microseconds that a key added by a command is good for when it is not said: operators change. */
export const operatorKeyTtlUs = 365 * 24 * 60 * MINUTE_US;
/** Microseconds that the control plane's keys are good for in a tenant's first keyset. */
export const controlKeyTtlUs = 10 * 365 * 24 * 60 * MINUTE_US;
/** Microseconds that a dock is open when it is not said: whoever is to come aboard is at the door. */
export const dockTtlDefaultUs = 60 * MINUTE_US;
/** Microseconds that a dock may be open: a join token that leaked opens nothing after that. */
export const dockTtlMaxUs = 7 * 24 * 60 * MINUTE_US;
/** Microseconds that a grant holds when it is not said. */
export const grantTtlDefaultUs = 24 * 60 * MINUTE_US;

/** Microseconds in which a sidecar that is about to start must have docked. */
export const boardingDockUs = 10 * MINUTE_US;
/** Names in one place of a path, from which on `dragons learn` writes `*` for them: more than a reader would list. */
export const starFrom = 8;
/** The same right behind the root, where what has nothing to do with one another lies side by side. */
export const starFromAtRoot = 32;
/** Microseconds that a learning grant holds unless told: a run that somebody waits for. */
export const learnGrantUs = 60 * MINUTE_US;
/** Microseconds that a grant made by `dragons run` holds: somebody asks again the next day. */
export const runGrantUs = 24 * 60 * MINUTE_US;
/** Runs of one identity at a time under such a grant. */
export const runInstancesMax = 16;
/** Ways that two patterns are followed together before it is left open whether one covers the other. */
export const coverStepsMax = 20_000;

// The story that `dragons dev` tells: how long each beat may take on a slow machine before it is said to fail

/** Milliseconds in which a process must say that it is ready, between looks for that, and to end by itself. */
export const childReadyMsMax = 20_000;
export const childLookMs = 20;
export const childEndMsMax = 15_000;
/** Milliseconds in which the first lease must be held, and between two looks. */
export const storyLeaseMsMax = 15_000;
export const storyLookMs = 50;
/** Milliseconds in which a receipt must be there. */
export const storyReceiptMsMax = 5_000;
/** Milliseconds that the agent may take to say how something went. */
export const storyAnswerMsMax = 15_000;
/** Milliseconds in which something that was set going must show. */
export const storyShowMsMax = 30_000;

// Evidence

/** Bytes of one frame of a pack: a receipt with all that it commits to fits with room, and a reader holds few at a time. */
export const packFrameBytesMax = 4 * MIB;
/** UTF-16 units of a trust file: a hundred witnesses fit. */
export const trustFileMax = 64 * KIB;
/** Receipts that the auditor's page lists: a few hundred bytes each in a browser; all of them are verified. */
export const pageReceiptsMax = 250_000;
/** Ranges that a flag lists in a report; those beyond are counted. */
export const flagRangesMax = 1000;

// The tether, seen from the sidecar

/** Microseconds: a connection to the control plane that died is noticed within two of these. */
export const tetherKeepaliveUs = 10 * SECOND_US;
/** Microseconds that docking may take, and between two tries while nobody answers. */
export const dockCallUs = 10 * SECOND_US;
export const dockRetryUs = 1 * SECOND_US;
/** Microseconds before the first try to attach again; doubled up to the last, with full jitter. */
export const attachBackoffMinUs = SECOND_US / 4;
export const attachBackoffMaxUs = 10 * SECOND_US;
/** Messages waiting to be sent; a control plane that reads none of them is as good as gone. */
export const tetherWaitingMax = 64;
/** Microseconds between looks at the machine's clocks: a sleep shows within it, even one hidden by a clock set back. */
export const clockLookUs = 1 * SECOND_US;
/** Microseconds: a ledger that grew is synced this soon, so that its head is cosigned within a beat. */
export const syncEveryUs = SECOND_US / 10;
/** Microseconds for the last beat and the last receipts when a sidecar ends. */
export const lastWordUs = 3 * SECOND_US;
/** Microseconds that the ledger of a sidecar that is gone may take to be closed: the next one waits for it. */
export const orphanUs = 5 * MINUTE_US;
/** Heads that we beat with and remember: more than a control plane can owe an answer for. */
export const headsRememberedMax = 256;
/** Microseconds: the authority in an agent's tunnels lives as long as its instance should. */
export const agentCaTtlUs = 365 * 24 * 60 * MINUTE_US;

// The sidecar's admin socket: one user, one machine

/** Characters of a unix socket's path that Linux takes. */
export const socketPathMax = 107;
/** Microseconds that whoever asks the sidecar something gets for the answer when it ends. */
export const adminGraceUs = 1 * SECOND_US;
/** Receipts with openings in one page: some 700 KB. */
export const entriesPageMax = 500;
/** Bytes of an evidence pack that are sent as one message. */
export const packChunkBytes = 64 * KIB;
/** See ServerLimits of the gRPC adapter for the units. */
export const adminServer = {
  messageBytesMax: 8 * MIB,
  streamsPerConnectionMax: 64,
  sessionMemoryMb: 64,
  idleUs: 5 * MINUTE_US,
  ageUs: 60 * MINUTE_US,
  ageGraceUs: 1 * MINUTE_US,
  keepaliveUs: 1 * MINUTE_US,
  keepaliveTimeoutUs: 20 * SECOND_US,
} as const;

/** Hashes in one consistency proof: as many levels as a tree of 2^53 has, and what C2SP lets a witness take. */
export const consistencyLinesMax = 63;

/** Bytes of what a witness answers. One line by each of its keys is some 150. */
export const witnessAnswerMax = 64 * 1024;

/** Outside witnesses that a control plane asks: no more lines than a note may have, less its own two. */
export const witnessesMax = 8;

/** Microseconds. A witness that has not answered by then is asked again later. */
export const witnessPatienceUs = 10 * 1_000_000;

/** Microseconds between two rounds of asking while the tenant ledger grows: a lease's lifetime is longer. */
export const witnessEveryUs = 10 * 1_000_000;

/** Microseconds after which witnesses are asked again for a head that has not moved, so that it does not grow old. */
export const witnessAgainUs = 10 * 60 * 1_000_000;
/** Keys of payloads made at once, on disk before the first is used: 128 KiB, a flush for a thousand actions. */
export const payloadKeysAhead = 4096;
/** UTF-8 bytes of what an operator says of a correction or a redaction. */
export const amendTextMax = 1024;
/** Heartbeats that a sidecar keeps to show in packs: some hours, at half a kilobyte each. */
export const beatsRememberedMax = 1024;
/** Countersigned heads that it keeps for that: a note or two of each. */
export const notesRememberedMax = 256;

/** Bytes of a proof that a ledger has two histories: a rewritten root takes every receipt before it, 400 bytes each. */
export const forkProofMax = 64 * MIB;
