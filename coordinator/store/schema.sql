-- One database for each run. Integers are 64 bit; ids and bodies are blobs.
CREATE TABLE meta (
  only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
  term       INTEGER NOT NULL,
  epoch      INTEGER NOT NULL,
  next_lease INTEGER NOT NULL,
  tail       INTEGER NOT NULL,  -- data positions from here on were never leased
  void_sequences INTEGER NOT NULL,  -- credited to steps that a rollback undid, and not fed again
  run_state  INTEGER NOT NULL,
  end_reason TEXT NOT NULL,
  loss_to_record INTEGER NOT NULL  -- rebuilt from too few nodes: the chain has to say so
) STRICT;

CREATE TABLE run (
  only_row      INTEGER PRIMARY KEY CHECK (only_row = 1),
  manifest      BLOB NOT NULL,  -- canonical body
  data_manifest BLOB NOT NULL
) STRICT;

CREATE TABLE token (
  id        BLOB PRIMARY KEY,
  hash      BLOB NOT NULL,
  kind      INTEGER NOT NULL,
  uses_left INTEGER NOT NULL,
  not_after INTEGER NOT NULL,  -- Unix seconds; 0: never
  revoked   INTEGER NOT NULL,
  label     TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE node (
  node_id         BLOB PRIMARY KEY,
  key             BLOB NOT NULL,
  name            TEXT NOT NULL,
  site            TEXT NOT NULL,
  state           INTEGER NOT NULL,
  incarnation     INTEGER NOT NULL,
  boot_id         BLOB NOT NULL,
  ticket          BLOB NOT NULL,
  curve_key       BLOB NOT NULL,
  addresses       BLOB NOT NULL,
  reachable       INTEGER NOT NULL,
  since_epoch     INTEGER NOT NULL,
  reason          TEXT NOT NULL,
  diverged        INTEGER NOT NULL,
  credited_tokens INTEGER NOT NULL,
  given_steps     INTEGER NOT NULL,  -- decided with its data
  given_steps_here INTEGER NOT NULL,  -- decided while it was here
  given_active_ms INTEGER NOT NULL,
  given_since     INTEGER NOT NULL,  -- Unix seconds of its first admission
  given_sent_before     INTEGER NOT NULL,  -- bytes of earlier processes
  given_sent            INTEGER NOT NULL,  -- of the present one
  given_received_before INTEGER NOT NULL,
  given_received        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE roster (
  epoch     INTEGER PRIMARY KEY,
  body      BLOB NOT NULL,
  signature BLOB NOT NULL
) STRICT;

-- Open leases only: [lo, done) is credited, [done, hi) is out.
CREATE TABLE lease (
  lease_id        INTEGER PRIMARY KEY,
  lo              INTEGER NOT NULL,
  hi              INTEGER NOT NULL,
  done            INTEGER NOT NULL CHECK (lo <= done AND done <= hi),
  holder          BLOB NOT NULL REFERENCES node (node_id),
  granted_at_step INTEGER NOT NULL
) STRICT;

CREATE TABLE free_range (
  lo INTEGER PRIMARY KEY,
  hi INTEGER NOT NULL CHECK (lo < hi)
) STRICT;

-- The plan in force.
CREATE TABLE plan (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  step     INTEGER NOT NULL,
  term     INTEGER NOT NULL,
  attempt  INTEGER NOT NULL,
  epoch    INTEGER NOT NULL,
  digest   BLOB NOT NULL,
  body     BLOB NOT NULL,
  must_end_decided INTEGER NOT NULL  -- found prepared at a rebuild: may have been decided already
) STRICT;

CREATE TABLE plan_log (
  step    INTEGER NOT NULL,
  term    INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  digest  BLOB NOT NULL,
  ended   INTEGER,  -- 1 decided, 2 superseded, 3 withdrawn; NULL: in force
  reason  TEXT NOT NULL,
  PRIMARY KEY (step, attempt)
) STRICT, WITHOUT ROWID;

-- INSERT only; the primary key forbids a second decision of a step.
CREATE TABLE decision (
  step         INTEGER PRIMARY KEY,
  kind         INTEGER NOT NULL,
  term         INTEGER NOT NULL,
  attempt      INTEGER NOT NULL,
  plan_digest  BLOB NOT NULL,
  tokens_after INTEGER NOT NULL,
  h_after      BLOB NOT NULL,
  body         BLOB NOT NULL,  -- roots, credits, hyper-parameters: canonical
  signature    BLOB NOT NULL,
  voters       BLOB NOT NULL
) STRICT;
CREATE TRIGGER decision_is_final BEFORE UPDATE ON decision BEGIN SELECT RAISE(ABORT, 'decisions are final'); END;
CREATE TRIGGER decision_stays BEFORE DELETE ON decision BEGIN SELECT RAISE(ABORT, 'decisions are final'); END;

CREATE TABLE digest (
  step    INTEGER NOT NULL,
  node_id BLOB NOT NULL,
  value   BLOB NOT NULL,
  PRIMARY KEY (step, node_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE request (
  number      INTEGER PRIMARY KEY,  -- order of answers
  node_id     BLOB NOT NULL,
  incarnation INTEGER NOT NULL,
  request_id  INTEGER NOT NULL,
  answer      BLOB NOT NULL,
  UNIQUE (node_id, incarnation, request_id)
) STRICT;
