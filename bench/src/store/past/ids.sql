-- Comes before the others. Given are :count, how many orders there were; :start_us, when the first of them was placed, in
-- microseconds; :run, which SKUs and accounts begin with, and :skus and :accounts, how many they are. The orders came a
-- microsecond apart, by turns for every SKU and from every account.
-- Of one local transaction, as the services' writers have them under load.
\set batch 100

CREATE FUNCTION pg_temp.past_time(us bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE
    RETURN to_timestamp(us / 1000000) + (us % 1000000) * interval '1 microsecond';

-- A UUIDv7 of this time: sorted by it is sorted by time, and it is the same in every database.
CREATE FUNCTION pg_temp.past_id(us bigint, place bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
    RETURN (lpad(to_hex(us / 1000), 12, '0') || '7' || lpad(to_hex(us % 1000 * 4), 3, '0') || '8'
            || lpad(to_hex(place), 15, '0'))::uuid;
