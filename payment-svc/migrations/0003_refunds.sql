-- What a saga's step has captured can be refunded, by a booking of its own.
ALTER TABLE booking DROP CONSTRAINT booking_kind_check;
ALTER TABLE booking ADD CONSTRAINT booking_kind_check CHECK (kind IN ('deposit', 'capture', 'refund'));
