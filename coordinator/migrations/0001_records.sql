-- One record per attempt at a client's request. At most one of them holds the request.
--
-- state, first_decision: 1 STAGING, 2 COMMITTED, 3 ABORTED. client_answer: 0 none, 1 accepted, 2 rejected, 3 unknown.
CREATE TABLE record (
    transaction_id   uuid PRIMARY KEY,
    client_id        text NOT NULL,
    request_id       text NOT NULL,
    request_digest   bytea NOT NULL,
    state            smallint NOT NULL CHECK (state BETWEEN 1 AND 3),
    holds_request    boolean NOT NULL,
    owner_id         text NOT NULL,
    deadline_unix_ms bigint NOT NULL,
    -- Names of the participants, joined by commas.
    participants     text NOT NULL,
    refusal          jsonb,
    client_answer    smallint NOT NULL DEFAULT 0 CHECK (client_answer BETWEEN 0 AND 3),
    -- Write-once: what was decided first. Differs from the state only if a decision was ever changed.
    first_decision   smallint CHECK (first_decision BETWEEN 2 AND 3),
    create_time      timestamptz NOT NULL DEFAULT now(),
    decide_time      timestamptz,
    -- Record and all participants are durably COMMITTED and the participants were told END.
    ended            boolean NOT NULL DEFAULT false,
    CHECK ((state = 1) = (first_decision IS NULL))
);

-- What makes "the request is free" atomic with the insert.
CREATE UNIQUE INDEX record_request ON record (client_id, request_id) WHERE holds_request;
-- For takeover and for the operator.
CREATE INDEX record_staging ON record (transaction_id) WHERE state = 1;
-- For garbage collection: whom to tell END, and tombstones that hold no request.
CREATE INDEX record_to_end ON record (deadline_unix_ms, transaction_id) WHERE state = 2 AND NOT ended;
CREATE INDEX record_tombstone ON record (deadline_unix_ms) WHERE NOT holds_request;

-- The watermark over deadlines. At or below it nothing is ever inserted.
CREATE TABLE watermark (
    sole             boolean PRIMARY KEY DEFAULT true CHECK (sole),
    deadline_unix_ms bigint NOT NULL,
    advance_time     timestamptz NOT NULL DEFAULT now()
);
INSERT INTO watermark (deadline_unix_ms) VALUES (0);

-- Which incarnation runs under a coordinator's name, and until when it is taken to live.
CREATE TABLE lease (
    name        text PRIMARY KEY,
    owner_id    text NOT NULL,
    lease_until timestamptz NOT NULL,
    address     text NOT NULL
);
