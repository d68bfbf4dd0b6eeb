"""Seats of shows as a participant of Assent's transactions: a whole participant in one file.

A branch is a text, SHOW and COUNT, such as b"gala 2". Everything is written by one writer, one local transaction a
batch: the log row of a transaction and the seats that it speaks for change together or not at all. What an answer says
is on disk before it leaves, because Postgres' COMMIT has returned. Any error is doubt, and never a no.

docs/PARTICIPANTS.md has the rules; `assent participant verify` checks them.
"""
import os
import threading
import time
import uuid
from concurrent import futures

import grpc
import psycopg
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from psycopg.types.json import Json

from assent.transaction.v1 import coordinator_pb2, coordinator_pb2_grpc
from assent.transaction.v1 import participant_pb2 as api
from assent.transaction.v1 import participant_pb2_grpc

NAME = "seats"
SERVICE = "assent.transaction.v1.ParticipantService"
PREPARED, COMMITTED, ABORTED = 1, 2, 3
MAX_ENTRIES, A_DAY_MS = 5_000, 24 * 3_600_000
DATABASE_URL = os.environ["SEATS_DATABASE_URL"]
LISTEN = os.environ.get("SEATS_LISTEN", "127.0.0.1:7500")
COORDINATOR = os.environ.get("SEATS_COORDINATOR", "127.0.0.1:7400")
WATERMARK_LAG_MS = int(os.environ.get("SEATS_WATERMARK_LAG_MS", "600000"))
COLLECT_SECONDS = float(os.environ.get("SEATS_COLLECT_SECONDS", "10"))

SCHEMA = """
CREATE TABLE IF NOT EXISTS seat (
    show text PRIMARY KEY, capacity bigint NOT NULL, held bigint NOT NULL DEFAULT 0, sold bigint NOT NULL DEFAULT 0,
    CHECK (held >= 0 AND sold >= 0 AND held + sold <= capacity));
CREATE TABLE IF NOT EXISTS branch_log (
    transaction_id uuid PRIMARY KEY, deadline_unix_ms bigint NOT NULL, state smallint NOT NULL,
    participants text[] NOT NULL DEFAULT '{}', owner_id text NOT NULL DEFAULT '', show text, seats bigint,
    refusal jsonb, create_time timestamptz NOT NULL DEFAULT now(), decide_time timestamptz);
CREATE TABLE IF NOT EXISTS watermark (sole boolean PRIMARY KEY DEFAULT true CHECK (sole), deadline_unix_ms bigint NOT NULL);
INSERT INTO watermark (deadline_unix_ms) VALUES (0) ON CONFLICT DO NOTHING;
INSERT INTO seat (show, capacity) VALUES ('gala', 10000) ON CONFLICT DO NOTHING;
"""


class Database:
    """One connection, for one thread at a time; a new one after an error, because nobody knows what the old one did."""

    def __init__(self):
        self.lock, self.connection = threading.Lock(), None

    def run(self, work):
        with self.lock:
            try:
                if self.connection is None:
                    self.connection = psycopg.connect(DATABASE_URL)
                with self.connection.transaction(), self.connection.cursor() as cursor:
                    return work(cursor)
            except psycopg.Error:
                if self.connection is not None:
                    self.connection.close()
                self.connection = None
                raise


def now_ms():
    return int(time.time() * 1000)


def refusal(reason, message):
    return {"reason": reason, "message": message}


def standing(cursor, references):
    """The watermark, and the rows that stand for these transactions. The lock makes this process the only writer."""
    cursor.execute("SELECT pg_advisory_xact_lock(7500)")
    watermark = cursor.execute("SELECT deadline_unix_ms FROM watermark").fetchone()[0]
    ids = [reference.transaction_id for reference in references]
    rows = cursor.execute("SELECT transaction_id, state, show, seats, refusal, deadline_unix_ms FROM branch_log"
                          " WHERE transaction_id = ANY(%s::uuid[])", (ids,)).fetchall()
    return watermark, {row[0]: Row(*row[1:]) for row in rows}


class Row:
    def __init__(self, state, show=None, seats=None, why=None, deadline=0):
        self.state, self.show, self.seats, self.why, self.deadline = state, show, seats, why, deadline


def insert(cursor, reference, row, participants=(), owner_id=""):
    cursor.execute("INSERT INTO branch_log (transaction_id, deadline_unix_ms, state, participants, owner_id, show, seats,"
                   " refusal, decide_time) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, CASE WHEN %s <> 1 THEN now() END)",
                   (reference.transaction_id, reference.deadline_unix_ms, row.state, list(participants), owner_id,
                    row.show, row.seats, row.why and Json(row.why), row.state))
    return row


def decide(cursor, reference, row, state, why=None):
    """A prepared branch is committed or aborted, with what it holds."""
    row.state, row.why = state, why
    cursor.execute("UPDATE branch_log SET state = %s, refusal = %s, decide_time = now() WHERE transaction_id = %s",
                   (state, why and Json(why), reference.transaction_id))
    cursor.execute("UPDATE seat SET held = held - %s, sold = sold + %s WHERE show = %s",
                   (row.seats, row.seats if state == COMMITTED else 0, row.show))


def hold(cursor, show, seats):
    """Holds seats; says why not if it can't."""
    cursor.execute("UPDATE seat SET held = held + %s WHERE show = %s AND capacity - held - sold >= %s", (seats, show, seats))
    return None if cursor.rowcount else refusal("SOLD_OUT", f"{seats} seats of {show} are not to be had")


def vote_of(row):
    if row.state == ABORTED:
        return api.VOTE_NO, row.why
    return api.VOTE_YES, None


def prepare(cursor, asked, row, below):
    if row is not None:
        return row, vote_of(row)
    if below:
        return None, (api.VOTE_FORGOTTEN, None)
    show, seats = read_branch(asked.branch)
    why = hold(cursor, show, seats)
    row = Row(ABORTED if why else PREPARED, show, seats, why, asked.transaction.deadline_unix_ms)
    return insert(cursor, asked.transaction, row, asked.participants, asked.owner_id), vote_of(row)


def fence(cursor, reference, row, below):
    if row is None and below:
        return None, (api.VOTE_FORGOTTEN, None)
    if row is None:
        row = insert(cursor, reference, Row(ABORTED, why=refusal("FENCED", "a recovery came before the branch")))
    return row, vote_of(row)


def commit(cursor, reference, row, below):
    if row is None:
        return None, api.ACKNOWLEDGEMENT_IGNORED if below else api.ACKNOWLEDGEMENT_ALARM
    if row.state == PREPARED:
        decide(cursor, reference, row, COMMITTED)
    return row, api.ACKNOWLEDGEMENT_DONE if row.state == COMMITTED else api.ACKNOWLEDGEMENT_ALARM


def abort(cursor, asked, row, below):
    why = refusal(asked.refusal.reason or "ABORTED", asked.refusal.message)
    if row is None and below:
        return None, api.ACKNOWLEDGEMENT_IGNORED
    if row is None:
        row = insert(cursor, asked.transaction, Row(ABORTED, why=why))
    elif row.state == PREPARED:
        decide(cursor, asked.transaction, row, ABORTED, why)
    return row, api.ACKNOWLEDGEMENT_DONE if row.state == ABORTED else api.ACKNOWLEDGEMENT_ALARM


def end(cursor, reference, row, below):
    if row is None:
        return None, api.ACKNOWLEDGEMENT_DONE
    if row.state != COMMITTED:
        return row, api.ACKNOWLEDGEMENT_ALARM
    if not below:
        return row, api.ACKNOWLEDGEMENT_RETRY
    cursor.execute("DELETE FROM branch_log WHERE transaction_id = %s", (reference.transaction_id,))
    return None, api.ACKNOWLEDGEMENT_DONE


class Invalid(Exception):
    """What was sent can't be."""


def read_branch(branch):
    try:
        show, seats = branch.decode().split(" ")
        seats = int(seats)
    except ValueError as error:
        raise Invalid(f"branch: must be SHOW and COUNT, not {branch[:40]!r}") from error
    if not 0 < seats <= 1_000_000 or "\0" in show:
        raise Invalid(f"branch: must be a show and 1 to 1,000,000 seats, not {branch[:40]!r}")
    return show, seats


def read_id(text):
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise Invalid(f"transaction_id: must be a UUID, not {text[:40]!r}") from error


def check_reference(reference):
    read_id(reference.transaction_id)
    if not 0 < reference.deadline_unix_ms <= now_ms() + A_DAY_MS:
        raise Invalid("deadline_unix_ms: must be in milliseconds since the Unix epoch and at most a day ahead")


def check_prepare(asked):
    if NAME not in asked.participants:
        raise Invalid(f"participants: must name this participant, {NAME}")
    if not asked.owner_id:
        raise Invalid("owner_id: is missing")
    read_branch(asked.branch)


def answering(method):
    """What can't be is INVALID_ARGUMENT; what the database does not do is doubt: the caller asks again."""
    def answer(self, request, context):
        try:
            return method(self, request)
        except Invalid as wrong:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(wrong))
        except psycopg.Error as error:
            context.abort(grpc.StatusCode.UNAVAILABLE, f"the database: {error}")
    return answer


class Participant(participant_pb2_grpc.ParticipantServiceServicer):
    def __init__(self, database):
        self.database, self.reads = database, Database()

    def batch(self, rule, entries, check=lambda entry: None):
        """Checks all entries, then carries them out as one local transaction, in their order."""
        if len(entries) > MAX_ENTRIES:
            raise Invalid(f"at most {MAX_ENTRIES} entries fit one request")
        references = [getattr(entry, "transaction", entry) for entry in entries]
        for entry, reference in zip(entries, references):
            check_reference(reference)
            check(entry)

        def work(cursor):
            watermark, rows = standing(cursor, references)
            answers = []
            for entry, reference in zip(entries, references):
                key = uuid.UUID(reference.transaction_id)
                row = rows.get(key)
                # END goes by the row's own deadline: that is what late messages come with.
                deadline = row.deadline if row and rule is end else reference.deadline_unix_ms
                rows[key], answer = rule(cursor, entry, row, deadline <= watermark)
                if answer == api.ACKNOWLEDGEMENT_ALARM:
                    print(f"ALARM: {rule.__name__} of {key} contradicts what stands here", flush=True)
                answers.append(answer)
            return answers
        return self.database.run(work)

    @answering
    def Prepare(self, request):
        votes = self.batch(prepare, request.branches, check_prepare)
        return api.PrepareResponse(results=[api.PrepareResult(vote=vote, refusal=why) for vote, why in votes])

    @answering
    def Fence(self, request):
        votes = self.batch(fence, request.transactions)
        return api.FenceResponse(results=[api.FenceResult(vote=vote, refusal=why) for vote, why in votes])

    @answering
    def Commit(self, request):
        return api.CommitResponse(acknowledgements=self.batch(commit, request.transactions))

    @answering
    def Abort(self, request):
        return api.AbortResponse(acknowledgements=self.batch(abort, request.branches))

    @answering
    def End(self, request):
        return api.EndResponse(acknowledgements=self.batch(end, request.transactions))

    def read(self, where, parameters):
        query = ("SELECT transaction_id::text, deadline_unix_ms, state, participants, owner_id, refusal, create_time,"
                 " decide_time FROM branch_log WHERE " + where)
        rows = self.reads.run(lambda cursor: cursor.execute(query, parameters).fetchall())
        return [api.Branch(transaction=api.TransactionRef(transaction_id=row[0], deadline_unix_ms=row[1]), state=row[2],
                           participants=row[3], owner_id=row[4], refusal=row[5], create_time=row[6], decide_time=row[7])
                for row in rows]

    @answering
    def GetBranch(self, request):
        rows = self.read("transaction_id = %s", (read_id(request.transaction_id),))
        return api.GetBranchResponse(branch=rows[0] if rows else None)

    @answering
    def ListBranches(self, request):
        if request.page_size < 0 or request.state not in api.BranchState.values():
            raise Invalid("page_size or state: can't be")
        size = min(request.page_size or 100, MAX_ENTRIES)
        after = read_id(request.page_token) if request.page_token else uuid.UUID(int=0)
        rows = self.read("(%s = 0 OR state = %s) AND transaction_id > %s ORDER BY transaction_id LIMIT %s",
                         (request.state, request.state, after, size + 1))
        token = rows[size - 1].transaction.transaction_id if len(rows) > size else ""
        return api.ListBranchesResponse(branches=rows[:size], next_page_token=token)

    @answering
    def Audit(self, request):
        wrong, shows = self.reads.run(lambda cursor: (
            cursor.execute("SELECT show, held, coalesce(p.seats, 0) FROM seat LEFT JOIN (SELECT show, sum(seats) AS seats"
                           " FROM branch_log WHERE state = 1 GROUP BY show) AS p USING (show)"
                           " WHERE held <> coalesce(p.seats, 0)").fetchall(),
            cursor.execute("SELECT count(*) FROM seat").fetchone()[0]))
        violations = [api.InvariantViolation(subject=show, detail=f"held {held}, prepared branches hold {seats}")
                      for show, held, seats in wrong]
        return api.AuditResponse(checks=[
            api.InvariantCheck(invariant="no-orphan-holds", checked_count=shows, violations=violations)])


def collect(database):
    """Advances the watermark, and deletes what was aborted before it. Committed rows wait for END."""
    def work(cursor):
        standing(cursor, [])
        cursor.execute("UPDATE watermark SET deadline_unix_ms = greatest(deadline_unix_ms, %s)", (now_ms() - WATERMARK_LAG_MS,))
        cursor.execute("DELETE FROM branch_log WHERE state = 3 AND deadline_unix_ms <= (SELECT deadline_unix_ms FROM watermark)")
    database.run(work)


def sweep(participant, coordinator):
    """Asks about what is in doubt past its deadline. The coordinator sends its decision itself; only FORGOTTEN, which
    says that nobody knows the transaction or ever will, is for the participant to act on."""
    for row in participant.read("state = 1 AND deadline_unix_ms < %s LIMIT 100", (now_ms(),)):
        request = coordinator_pb2.RecoverTransactionRequest(transaction=row.transaction, participants=row.participants)
        if coordinator.RecoverTransaction(request, timeout=5).outcome == coordinator_pb2.RECOVERY_OUTCOME_FORGOTTEN:
            why = api.Refusal(reason="FORGOTTEN", message="the coordinator has no record of the transaction any more")
            participant.batch(abort, [api.AbortBranch(transaction=row.transaction, refusal=why)])


def every(seconds, work, *arguments):
    def loop():
        while True:
            try:
                work(*arguments)
            except (grpc.RpcError, psycopg.Error) as error:
                print(f"{work.__name__}: {error!r:.200}; trying again", flush=True)
            time.sleep(seconds)
    threading.Thread(target=loop, daemon=True).start()


def main():
    database = Database()
    database.run(lambda cursor: cursor.execute(SCHEMA))
    participant = Participant(database)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=[("grpc.max_receive_message_length", 16 << 20)])
    participant_pb2_grpc.add_ParticipantServiceServicer_to_server(participant, server)
    healthy = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    reflection.enable_server_reflection((SERVICE, reflection.SERVICE_NAME), server)
    every(COLLECT_SECONDS, collect, database)
    every(0.5, sweep, participant, coordinator_pb2_grpc.CoordinatorServiceStub(grpc.insecure_channel(COORDINATOR)))
    server.add_insecure_port(LISTEN)
    server.start()
    print(f"serving {LISTEN}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
