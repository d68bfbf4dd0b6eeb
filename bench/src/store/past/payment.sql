-- What every order cost: captured from its account. The accounts are there already.
INSERT INTO booking (booking_id, debit_account, credit_account, amount_minor, kind, create_time)
    SELECT pg_temp.past_id(us, place), :'run' || '-a' || lpad((place % :accounts)::text, 5, '0'), 'assent:revenue:GBP', 100,
           'capture', pg_temp.past_time(us)
    FROM generate_series(0, :count::bigint - 1) AS place CROSS JOIN LATERAL (SELECT :start_us + place AS us) AS at;
UPDATE account SET balance_minor = balance_minor - paid.amount_minor
    FROM (
        SELECT debit_account, sum(amount_minor)::bigint AS amount_minor FROM booking WHERE kind = 'capture' GROUP BY 1
    ) AS paid
    WHERE account.account = paid.debit_account;
INSERT INTO account (account, currency, balance_minor) VALUES ('assent:revenue:GBP', 'GBP', 100 * :count::bigint)
    ON CONFLICT (account) DO UPDATE SET balance_minor = account.balance_minor + EXCLUDED.balance_minor;
VACUUM (ANALYZE) booking, account;
CHECKPOINT;
