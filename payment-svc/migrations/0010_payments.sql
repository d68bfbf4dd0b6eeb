-- Payments that are more than a charge: an authorisation that stands until it is captured, voided or expired, and what was
-- refunded. A charge has no row here until somebody refunds it: its row is then made of its booking.
CREATE TABLE payment (
    -- The transaction that authorised or charged.
    payment_id uuid PRIMARY KEY,
    account text COLLATE "C" NOT NULL,
    currency text NOT NULL,
    authorised_minor bigint NOT NULL,
    captured_minor bigint NOT NULL DEFAULT 0,
    refunded_minor bigint NOT NULL DEFAULT 0,
    -- Given back: voided, expired, or left by the final capture.
    released_minor bigint NOT NULL DEFAULT 0,
    -- Promised by transactions in doubt: to be captured, to be refunded, to count towards the one that takes its place.
    capturing_minor bigint NOT NULL DEFAULT 0,
    refunding_minor bigint NOT NULL DEFAULT 0,
    credit_minor bigint NOT NULL DEFAULT 0,
    -- The transaction in doubt that will end it.
    closing_id uuid,
    -- Nothing more can be captured: why.
    ended text CHECK (ended IN ('captured', 'voided', 'expired', 'replaced')),
    -- NULL for a charge.
    expire_time timestamptz,
    create_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT captures_are_covered CHECK (
        0 <= captured_minor AND 0 <= released_minor AND 0 <= capturing_minor AND 0 <= credit_minor
        AND captured_minor + released_minor + capturing_minor + credit_minor <= authorised_minor
    ),
    CONSTRAINT refunds_are_covered CHECK (
        0 <= refunded_minor AND 0 <= refunding_minor AND refunded_minor + refunding_minor <= captured_minor
    )
) WITH (fillfactor = 70);

CREATE INDEX payment_by_account ON payment (account, payment_id);
CREATE INDEX payment_by_expiry ON payment (expire_time) WHERE ended IS NULL;

-- The payment of a capture or refund; NULL for a charge, whose own id it is.
ALTER TABLE booking ADD COLUMN payment_id uuid;
CREATE INDEX booking_by_payment ON booking (payment_id, booking_id) WHERE payment_id IS NOT NULL;
