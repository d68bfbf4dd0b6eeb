-- Sagas: each has a record as every transaction has, which says whose request it is and what was decided, and here how far
-- it is.
--
-- mode: 1 atomic, 2 saga. The record of a saga is `ended` when the saga is, and its participants were told END.
ALTER TABLE record ADD COLUMN mode smallint NOT NULL DEFAULT 1 CHECK (mode BETWEEN 1 AND 2);

-- state: 1 forward, 2 backward, 3 done, 4 compensated. Changed only under the epoch, which every takeover increments.
CREATE TABLE saga (
    transaction_id   uuid PRIMARY KEY,
    state            smallint NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 4),
    epoch            bigint NOT NULL DEFAULT 1,
    owner_id         text NOT NULL,
    paused           boolean NOT NULL DEFAULT false,
    -- The latest deadline that any EXECUTE of it names; written down before it is named.
    deadline_unix_ms bigint NOT NULL,
    end_time         timestamptz,
    CHECK ((state IN (3, 4)) = (end_time IS NOT NULL))
) WITH (fillfactor = 50);

-- state: 1 pending, 2 executed, 3 refused, 4 skipped, 5 to compensate, 6 compensated.
-- kind: 1 compensatable, 2 pivot, 3 retriable. `after`: places of the steps that it waits for, joined by commas.
CREATE TABLE saga_step (
    transaction_id    uuid NOT NULL,
    place             smallint NOT NULL,
    name              text NOT NULL,
    participant       text NOT NULL,
    kind              smallint NOT NULL CHECK (kind BETWEEN 1 AND 3),
    after             text NOT NULL,
    branch            bytea NOT NULL,
    state             smallint NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 6),
    -- Of the tries that were in vain: for the operator, and for whoever takes over. May be lost.
    attempt_count     integer NOT NULL DEFAULT 0,
    next_attempt_time timestamptz,
    last_error        text NOT NULL DEFAULT '',
    PRIMARY KEY (transaction_id, place)
) WITH (fillfactor = 50);

-- The sagas that have not ended, for takeover and for the operator.
CREATE TABLE open_saga (
    transaction_id uuid PRIMARY KEY
);
