"""Every message of docs/formats.md, section 5, in that section's own words: a test holds them together."""

MESSAGES = """
key: 1 role OPERATOR_GRANT|OPERATOR_LOGIN|ISSUER|COSIGNER|CONTROL_LEDGER|WITNESS, 2 key hash,
    3 not_before_us u64, 4 not_after_us u64, 5 holder str, 6 compromised_from_us u64,
    7 login_role VIEWER|OPERATOR|ADMIN
threshold: 1 role OPERATOR_GRANT|OPERATOR_LOGIN|ISSUER|COSIGNER|CONTROL_LEDGER|WITNESS,
    2 signatures u32
keyset: 1 version u32, 2 tenant_id str, 3 keyset_version u64, 4 issued_at_us u64, 5 keys [key],
    6 thresholds [threshold], 7 previous hash, 8 root_key hash, 9 control_cas [bytes]

file: 1 path str, 2 sha256 hash, 3 size u64
rule: 1 protocol GRPC|HTTP|MCP|OPAQUE, 2 target str, 3 verb str, 4 path str, 5 when str,
    6 scheme HTTP|HTTPS
capability: 1 name str, 2 rules [rule]
server: 1 name str, 2 scheme HTTP|HTTPS, 3 target str, 4 path str
manifest: 1 version u32, 2 name str, 3 agent_version str, 4 code [file], 5 config [file],
    6 runtime str, 7 capabilities [capability], 8 servers [server],
    9 listens [str]

limits: 1 max_actions u64, 2 max_bytes u64, 3 rate_per_minute u64, 4 max_concurrent u64
scope: 1 name str, 2 limits limits
liveness: 1 heartbeat_interval_us u64, 2 stall_degraded_us u64, 3 stall_autoheal_us u64,
    4 silent_beyond_lease STOP|QUARANTINE, 5 quarantine_stalled NO|YES
grant: 1 version u32, 2 grant_id str, 3 tenant_id str, 4 manifest_hash hash, 5 scopes [scope],
    6 not_before_us u64, 7 not_after_us u64, 8 issued_at_us u64, 9 lease_ttl_max_us u64,
    10 purpose str, 11 instances_max u32, 12 measure_min DECLARED|FILES|LAUNCHED,
    13 liveness liveness, 14 observe_until_us u64

joinKey: 1 key hash, 2 ledgers_max u32
dock: 1 version u32, 2 dock_id str, 3 tenant_id str, 4 grant_ref hash, 5 join_keys [joinKey],
    6 not_before_us u64, 7 not_after_us u64, 8 issued_at_us u64

genesis: 1 version u32, 2 role WORK|CONTROL, 3 tenant_id str, 4 instance_id str, 5 ledger_key hash,
    6 manifest_hash hash, 7 dock_ref hash, 8 join_key hash, 9 nonce hash, 10 created_at_us u64,
    11 predecessor hash

lease: 1 version u32, 2 lease_id str, 3 tenant_id str, 4 instance_id str, 5 ledger_id hash,
    6 manifest_hash hash, 7 grant_ref hash, 8 lease_seq u64, 9 scopes [scope], 10 not_before_us u64,
    11 not_after_us u64, 12 issued_at_us u64, 13 head_size u64, 14 head_root hash,
    15 intents_opened u64, 16 intents_head hash, 17 revocation_epoch u64, 18 session_epoch u64,
    19 control_size u64, 20 control_root hash, 21 observe_until_us u64

input: 1 name str, 2 type INT|STRING|BOOL|UNREADABLE, 3 value str
limitState: 1 scope str, 2 actions_left u64, 3 bytes_left u64, 4 concurrent_left u64,
    5 rate_left u64
claim: 1 version u32, 2 protocol GRPC|HTTP|MCP|OPAQUE, 3 target str, 4 verb str, 5 path str,
    6 inputs [input], 7 limit_state [limitState], 8 scheme HTTP|HTTPS

receipt: 1 version u32, 2 receipt_id str, 3 tenant_id str, 4 ledger_id hash, 5 seq u64,
    6 prev_hash hash, 7 manifest_hash hash, 8 lease_ref hash,
    9 kind ACTION|DENIAL|CORRECTION|REDACTION|LIFECYCLE|RECORD,
    10 verdict COMPLETED|FAILED|DENIED|CUT|INDETERMINATE, 11 reason REASONS, 12 scope str,
    13 opened_at_us u64, 14 closed_at_us u64, 15 egress_last_us u64, 16 intent_seq u64,
    17 intents_opened u64, 18 intents_head hash, 19 count u64, 20 payload_hash hash,
    21 refers_to hash, 22 redacted_mask u32, 23 would_deny REASONS,
    24 spent_bytes u64

record: 1 version u32, 2 what keyset|manifest|grant|dock|genesis|lease|revocation|transition|directive|head|equivocation|alarm|heartbeat,
    3 actor hash, 4 method str, 5 request_id str

goal: 1 version u32, 2 purpose str, 3 goal str, 4 traceparent str
action: 1 version u32, 2 protocol GRPC|HTTP|MCP|OPAQUE, 3 target str, 4 verb str, 5 path str,
    6 header_names [str], 7 body_sha256 hash, 8 body_bytes u64, 9 messages u64,
    10 scheme HTTP|HTTPS, 11 query_sha256 hash
evidence: 1 version u32, 2 dialled str, 3 peer_certificate hash, 4 leases [hash],
    5 first_byte_us u64, 6 measure DECLARED|FILES|LAUNCHED, 7 enforcement ADVISORY|GATEWAY|SEALED
outcome: 1 version u32, 2 status str, 3 header_names [str], 4 trailer_names [str],
    5 body_sha256 hash, 6 body_bytes u64, 7 messages u64
opening: 1 field u32, 2 salt hash, 3 data bytes
payload: 1 commitments [hash], 2 openings [opening]

scopeCount: 1 scope str, 2 completed u64, 3 failed u64, 4 denied u64
scopeSpent: 1 scope str, 2 actions u64, 3 bytes u64
novelty: 1 targets u32, 2 shapes u32, 3 outcomes u32, 4 actions u32, 5 repeats u32
directiveResult: 1 directive_id str, 2 outcome DONE|FAILED|IGNORED, 3 detail str
heartbeat: 1 version u32, 2 heartbeat_id str, 3 tenant_id str, 4 ledger_id hash,
    5 session_epoch u64, 6 counter u64, 7 wall_us u64, 8 monotonic_us u64, 9 suspended_us u64,
    10 next_due_us u64, 11 child ABSENT|RUNNING|EXITED|STOPPED, 12 child_exit u32, 13 in_flight u32,
    14 oldest_in_flight_us u64, 15 loop_lag_us u64, 16 size u64, 17 root hash,
    18 intents_opened u64, 19 intents_head hash, 20 scopes [scopeCount], 21 novelty novelty,
    22 last_progress_us u64, 23 grant_ref hash, 24 lease_ref hash, 25 autonomy_left_us u64,
    26 manifest_hash hash, 27 ledger_health OK|SLOW|FULL|FAILED, 28 sync_lag u64,
    29 enforcement ADVISORY|GATEWAY|SEALED, 30 directive_results [directiveResult],
    31 observe_until_us u64,
    32 spent [scopeSpent]

revocation: 1 version u32, 2 tenant_id str, 3 epoch u64, 4 previous hash,
    5 kind LEASE|GRANT|KEY|MANIFEST|INSTANCE|TENANT|RESUME, 6 target hash, 7 effective_us u64, 8 reason str

directive: 1 version u32, 2 directive_id str, 3 tenant_id str, 4 instance_id str, 5 ledger_id hash,
    6 session_epoch u64, 7 kind QUARANTINE|RELEASE|STOP|RESYNC|RESTART_AGENT|REATTACH,
    8 issued_at_us u64, 9 expires_at_us u64, 10 reason str

condition: 1 type CONDITION_TYPES, 2 since_us u64, 3 artifact hash
interval: 1 from_us u64, 2 until_us u64
transition: 1 version u32, 2 transition_id str, 3 tenant_id str, 4 instance_id str,
    5 ledger_id hash, 6 from DOCKED|RUNNING|DEGRADED|AUTOHEALING|QUARANTINED|STOPPED,
    7 to DOCKED|RUNNING|DEGRADED|AUTOHEALING|QUARANTINED|STOPPED, 8 cause CAUSES,
    9 condition CONDITION_TYPES, 10 at_us u64, 11 desired RUN|HOLD|STOP, 12 conditions [condition],
    13 artifacts [hash], 14 actor hash, 15 reason str, 16 last_beat_us u64, 17 due_us u64,
    18 threshold_us u64, 19 observer_up [interval], 20 basis transitionBasis, 21 released [condition]
transitionBasis: 1 input BEAT|TICK|SESSION|LEASE|POLICY|FAULT|HOLD|STOP|RELEASE|REMEDY, 2 beat hash,
    3 lateness_us u64, 4 deviation_us u64, 5 attached u32, 6 session_epoch u64, 7 lease hash,
    8 lease_granted_us u64, 9 lease_until_us u64, 10 lease_horizon_us u64, 11 busy_since_us u64,
    12 struggling u32, 13 denials_us u64, 14 exited_us u64, 15 proven u32,
    16 remedy STARTED|SUCCEEDED|EXHAUSTED, 17 progress_mark_us u64, 18 stop_us u64,
    19 released_us u64, 20 holds [condition], 21 before [condition], 22 usual_us u64, 23 missed_ppm u64,
    24 treated CONDITION_TYPES, 25 directives [hash]
"""

# Numbered from 1.
ENUMS = """
REASONS: 1 NO_LEASE, 2 LEASE_NOT_YET_VALID, 3 LEASE_EXPIRED, 4 LEASE_REVOKED, 5 LEASE_MISMATCH, 6
    MANIFEST_NOT_RECORDED, 7 MANIFEST_DRIFT, 8 QUARANTINED, 9 STOPPED, 10 SCOPE_NOT_GRANTED, 11
    CONDITION_FALSE, 12 CONDITION_UNEVALUABLE, 13 LIMIT_SPENT, 14 CALLER_UNIDENTIFIED, 15
    REQUEST_NOT_NORMAL, 16 AUTHORITY_MISMATCH, 17 TARGET_FORBIDDEN, 18 PROTOCOL_UNSUPPORTED, 19
    FRAMING_INVALID, 20 MESSAGE_TOO_LARGE, 21 LEDGER_UNAVAILABLE, 22 OVERLOADED, 23
    UPSTREAM_UNREACHABLE, 24 UPSTREAM_FAILED, 25 CLIENT_CANCELLED, 26 DEADLINE_EXCEEDED, 27 HANDOFF,
    28 CRASHED, 29 MANIFEST_RETIRED
CONDITION_TYPES: 1 SILENT, 2 STALLED, 3 LOOPING, 4 LEASE_ZERO, 5 LEDGER_FAULT, 6 SYNC_LAG, 7
    DENIAL_STORM, 8 DRIFT, 9 FORK, 10 REGRESS, 11 KEY_MISUSE, 12 HELD
CAUSES: 1 FIRST_BEAT, 2 CONDITION, 3 CONDITIONS_CLEARED, 4 REMEDY_STARTED, 5 RECOVERED, 6
    REMEDIES_SPENT, 7 OPERATOR, 8 FINISHED, 9 FAILED, 10 UNCONFIRMED
"""

# Sections 1 and 6: what signed objects travel in, and the frames of a pack.
ENVELOPES = """
signedBytes: 1 body bytes, 2 signatures [signature]
signature: 1 key hash, 2 value signature64
header: 1 tenant_id str, 2 ledgers u32
frontier: 1 size u64, 2 nodes [hash], 3 last hash, 4 intents_opened u64, 5 intents_head hash
receiptFrame: 1 signed bytes, 2 row bytes
proof: 1 signed bytes, 2 row bytes, 3 size u64, 4 path [hash]
openIntent: 1 intent_seq u64, 2 receipt_id str, 3 lease_ref hash, 4 opened_at_us u64,
    5 claim_commitment hash
end: 1 frames u64
equivocation: 1 version u32, 2 ledger_id hash, 3 kind RECEIPTS|CHAIN|HEADS|ROOT, 4 first bytes,
    5 second bytes
fork: 1 tenant_id str, 2 keysets [bytes], 3 manifests [bytes], 4 grants [bytes], 5 docks [bytes],
    6 genesis bytes, 7 equivocation equivocation, 8 receipts [bytes]
"""
