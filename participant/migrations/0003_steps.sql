-- Steps of sagas: one row per (transaction, step), written once, in the same local transaction as its effect.
--
-- state: 1 EXECUTED, 2 REFUSED, 3 COMPENSATED (undone, or a tombstone where nothing was carried out).
CREATE TABLE step_log (
    transaction_id   uuid NOT NULL,
    step             text COLLATE "C" NOT NULL,
    deadline_unix_ms bigint NOT NULL,
    state            smallint NOT NULL CHECK (state BETWEEN 1 AND 3),
    -- What was asked for: what a compensation, which names only the step, undoes.
    branch           bytea,
    refusal          jsonb,
    create_time      timestamptz NOT NULL DEFAULT now(),
    update_time      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (transaction_id, step),
    CHECK (state <> 1 OR branch IS NOT NULL)
);
