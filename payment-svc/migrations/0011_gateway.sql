-- Calls of a card gateway (`--provider gateway`): written down before they are made, and made until they are answered.
CREATE TABLE gateway_call (
    -- What it does and for whom; with the generation, the key by which the gateway knows a repeat.
    call_id text COLLATE "C" PRIMARY KEY,
    -- Calls of one payment are made in this order.
    sequence bigint GENERATED ALWAYS AS IDENTITY,
    payment_id uuid NOT NULL,
    operation text NOT NULL CHECK (operation IN ('authorise', 'capture', 'void', 'refund')),
    account text NOT NULL,
    currency text NOT NULL,
    amount_minor bigint NOT NULL,
    -- Of an authorisation: asking, then approved or declined with the vote; or given up, then undone.
    -- Of everything else: wanted, then done.
    state text NOT NULL CHECK (state IN ('asking', 'approved', 'declined', 'given_up', 'undone', 'wanted', 'done')),
    -- An authorisation that was refused and is asked for anew is another one.
    generation integer NOT NULL DEFAULT 0,
    -- The gateway's name of the authorisation.
    gateway_id text,
    attempts integer NOT NULL DEFAULT 0,
    next_time timestamptz NOT NULL DEFAULT now(),
    last_error text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL DEFAULT now(),
    finish_time timestamptz
) WITH (fillfactor = 70);

CREATE INDEX gateway_call_open ON gateway_call (next_time) WHERE state IN ('asking', 'wanted', 'given_up');
CREATE INDEX gateway_call_of_payment ON gateway_call (payment_id, sequence);
