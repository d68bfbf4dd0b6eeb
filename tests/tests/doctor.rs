//! The doctor finds every kind of violation: each is planted in the databases of a quiet system, found by its name and its
//! transaction, and taken back.
use std::collections::BTreeSet;

use prost::Message;
use proto::assent::inventory::v1::{InventoryBranch, StockLine};
use proto::assent::transaction::v1::{PrepareBranch, PrepareRequest, TransactionRef, Vote};
use sqlx::AssertSqlSafe;
use tests::Service::{Coordinator, Inventory, Order, Payment};
use tests::{Basket, Service, System, doctor, timed};
use uuid::Uuid;

/// A violation: what is done to which databases, and how it is taken back.
///
/// In the statements and names, ID and OTHER stand for confirmed transactions, SAGA for a done saga, HELD for one that the inventory has
/// prepared, and NOWHERE for an id that is in no database.
struct Plant {
    /// All invariants that it violates: more than one only where one can't be violated without the other.
    violates: &'static [&'static str],
    plant: &'static [(Service, &'static str)],
    undo: &'static [(Service, &'static str)],
    /// The transactions, or the SKU, that must be named.
    names: &'static [&'static str],
}

const PLANTS: &[Plant] = &[
    Plant {
        // What is committed here and aborted there was not prepared there. So old that no record needs to stand.
        violates: &["atomicity", "validity"],
        plant: &[
            (Order, "INSERT INTO branch_log (transaction_id, deadline_unix_ms, state, decide_time) VALUES ('NOWHERE', 1, 2, now())"),
            (Payment, "INSERT INTO branch_log (transaction_id, deadline_unix_ms, state, decide_time) VALUES ('NOWHERE', 1, 3, now())"),
        ],
        undo: &[
            (Order, "DELETE FROM branch_log WHERE transaction_id = 'NOWHERE'"),
            (Payment, "DELETE FROM branch_log WHERE transaction_id = 'NOWHERE'"),
        ],
        names: &["NOWHERE"],
    },
    Plant {
        // Its batch still counts it.
        violates: &["validity", "agreement"],
        plant: &[
            (Payment, "CREATE TABLE kept AS SELECT * FROM branch_log WHERE transaction_id = 'ID'"),
            (Payment, "DELETE FROM branch_log WHERE transaction_id = 'ID'"),
        ],
        undo: &[(Payment, "INSERT INTO branch_log SELECT * FROM kept"), (Payment, "DROP TABLE kept")],
        names: &["ID"],
    },
    Plant {
        violates: &["decision-stability"],
        plant: &[(Coordinator, "UPDATE record SET state = 2, first_decision = 3 WHERE transaction_id = 'ID'")],
        undo: &[(Coordinator, "UPDATE record SET first_decision = 2 WHERE transaction_id = 'ID'")],
        names: &["ID"],
    },
    Plant {
        violates: &["answer-honesty"],
        plant: &[(Coordinator, "UPDATE record SET client_answer = 2 WHERE transaction_id = 'ID'")],
        undo: &[(Coordinator, "UPDATE record SET client_answer = 1 WHERE transaction_id = 'ID'")],
        names: &["ID"],
    },
    Plant {
        violates: &["answer-honesty"],
        plant: &[(Order, "UPDATE orders SET refused = true WHERE order_id = 'ID'")],
        undo: &[(Order, "UPDATE orders SET refused = false WHERE order_id = 'ID'")],
        names: &["ID"],
    },
    Plant {
        violates: &["agreement"],
        plant: &[
            (Coordinator, "CREATE TABLE kept AS SELECT * FROM record WHERE transaction_id = 'ID'"),
            (Coordinator, "DELETE FROM record WHERE transaction_id = 'ID'"),
        ],
        undo: &[(Coordinator, "INSERT INTO record SELECT * FROM kept"), (Coordinator, "DROP TABLE kept")],
        names: &["ID"],
    },
    Plant {
        // A batch that would not be closed by all that is left of it.
        violates: &["agreement"],
        plant: &[(Inventory, "UPDATE branch_batch SET undecided = 2, rows_left = 2 WHERE transaction_ids = ARRAY['HELD'::uuid]")],
        undo: &[(Inventory, "UPDATE branch_batch SET undecided = 1, rows_left = 1 WHERE transaction_ids = ARRAY['HELD'::uuid]")],
        names: &["HELD"],
    },
    Plant {
        // Rows that contradict themselves.
        violates: &["agreement"],
        plant: &[(Inventory, "UPDATE branch_log SET decide_time = now() WHERE transaction_id = 'HELD'")],
        undo: &[(Inventory, "UPDATE branch_log SET decide_time = NULL WHERE transaction_id = 'HELD'")],
        names: &["HELD"],
    },
    Plant {
        violates: &["agreement"],
        plant: &[(Inventory, "UPDATE branch_batch SET decide_time = now() WHERE transaction_ids = ARRAY['HELD'::uuid]")],
        undo: &[(Inventory, "UPDATE branch_batch SET decide_time = NULL WHERE transaction_ids = ARRAY['HELD'::uuid]")],
        names: &["HELD"],
    },
    Plant {
        // A batch whose rows would go with a partition that has not all of them.
        violates: &["agreement"],
        plant: &[(Inventory, "UPDATE branch_batch SET last_transaction_id = batch_id WHERE transaction_ids = ARRAY['HELD'::uuid]")],
        undo: &[(Inventory, "UPDATE branch_batch SET last_transaction_id = 'HELD' WHERE transaction_ids = ARRAY['HELD'::uuid]")],
        names: &["HELD"],
    },
    Plant {
        violates: &["agreement"],
        plant: &[(Coordinator, "UPDATE record SET mode = 3 WHERE transaction_id = 'ID'")],
        undo: &[(Coordinator, "UPDATE record SET mode = 1 WHERE transaction_id = 'ID'")],
        names: &["ID"],
    },
    Plant {
        violates: &["agreement"],
        plant: &[(Coordinator, "UPDATE record_batch SET undecided = 1 WHERE transaction_ids[1] = 'ID'")],
        undo: &[(Coordinator, "UPDATE record_batch SET undecided = 0 WHERE transaction_ids[1] = 'ID'")],
        names: &["ID"],
    },
    Plant {
        violates: &["no-orphan-holds", "stock-conserved"],
        plant: &[(Inventory, "UPDATE stock SET held = held + 1 WHERE sku = 'plant'")],
        undo: &[(Inventory, "UPDATE stock SET held = held - 1 WHERE sku = 'plant'")],
        names: &["HELD"],
    },
    Plant {
        violates: &["no-oversell", "stock-conserved"],
        plant: &[
            (Inventory, "ALTER TABLE stock DROP CONSTRAINT no_oversell"),
            (Inventory, "UPDATE stock SET on_hand = on_hand - 1000 WHERE sku = 'plant'"),
        ],
        undo: &[
            (Inventory, "UPDATE stock SET on_hand = on_hand + 1000 WHERE sku = 'plant'"),
            (Inventory, "ALTER TABLE stock ADD CONSTRAINT no_oversell CHECK (0 <= held AND held <= on_hand)"),
        ],
        names: &["plant"],
    },
    Plant {
        // A movement that is gone: the SKU can be named.
        violates: &["stock-conserved"],
        plant: &[
            (Inventory, "ALTER TABLE movement DISABLE TRIGGER movements_stay"),
            (Inventory, "CREATE TABLE kept AS SELECT * FROM movement WHERE transaction_id = 'ID'"),
            (Inventory, "DELETE FROM movement WHERE transaction_id = 'ID'"),
        ],
        undo: &[
            (Inventory, "INSERT INTO movement SELECT * FROM kept"),
            (Inventory, "DROP TABLE kept"),
            (Inventory, "ALTER TABLE movement ENABLE TRIGGER movements_stay"),
        ],
        names: &["plant"],
    },
    Plant {
        // A movement that says something else: its transaction can be named as well.
        violates: &["stock-conserved"],
        plant: &[
            (Inventory, "ALTER TABLE movement DISABLE TRIGGER movements_stay"),
            (Inventory, "UPDATE movement SET quantity = 2 WHERE transaction_id = 'OTHER' AND kind = 3"),
        ],
        undo: &[
            (Inventory, "UPDATE movement SET quantity = 1 WHERE transaction_id = 'OTHER' AND kind = 3"),
            (Inventory, "ALTER TABLE movement ENABLE TRIGGER movements_stay"),
        ],
        names: &["plant", "OTHER"],
    },
    Plant {
        violates: &["money-conserved"],
        plant: &[(Payment, "UPDATE booking SET debit_account = 'nobody' WHERE booking_id = 'ID'")],
        undo: &[(Payment, "UPDATE booking SET debit_account = 'rich' WHERE booking_id = 'ID'")],
        names: &["ID"],
    },
    Plant {
        violates: &["one-order-per-request"],
        plant: &[(Coordinator, "UPDATE record SET request_id = 'first', holds_request = false WHERE transaction_id = 'OTHER'")],
        undo: &[(Coordinator, "UPDATE record SET request_id = 'second', holds_request = true WHERE transaction_id = 'OTHER'")],
        names: &["ID", "OTHER"],
    },
    Plant {
        violates: &["saga-wholeness"],
        plant: &[(Inventory, "UPDATE step_log SET state = 3 WHERE transaction_id = 'SAGA'")],
        undo: &[(Inventory, "UPDATE step_log SET state = 1 WHERE transaction_id = 'SAGA'")],
        names: &["SAGA"],
    },
    Plant {
        violates: &["order-life"],
        plant: &[(Order, "INSERT INTO order_life (order_id, state, version) VALUES ('ID', 4, 2)")],
        undo: &[(Order, "DELETE FROM order_life WHERE order_id = 'ID'")],
        names: &["ID"],
    },
    Plant {
        // Nobody can decide it, because its participant can't be asked.
        violates: &["in-doubt-resolves"],
        plant: &[(
            Coordinator,
            "INSERT INTO record (transaction_id, client_id, request_id, request_digest, state, holds_request, owner_id,
                                 deadline_unix_ms, participants)
             VALUES ('NOWHERE', 'c', 'r', '', 1, true, 'gone', extract(epoch FROM now())::bigint * 1000 - 60000, 'shipping')",
        )],
        undo: &[(Coordinator, "DELETE FROM record WHERE transaction_id = 'NOWHERE'")],
        names: &["NOWHERE"],
    },
    Plant {
        // A batch of one record that counts two.
        violates: &["agreement", "in-doubt-resolves"],
        plant: &[
            (
                Coordinator,
                "INSERT INTO record (transaction_id, client_id, request_id, request_digest, state, holds_request, owner_id,
                                     deadline_unix_ms, participants, batch_id)
                 VALUES ('NOWHERE', 'c', 'r', '', 1, true, 'gone', extract(epoch FROM now())::bigint * 1000 - 60000, 'shipping',
                         'NOWHERE')",
            ),
            (
                Coordinator,
                "INSERT INTO record_batch (batch_id, undecided, owner_id, transaction_ids, record_count, max_deadline_unix_ms, participants)
                 VALUES ('NOWHERE', 2, 'gone', ARRAY['NOWHERE'::uuid], 1, 0, '{shipping}')",
            ),
        ],
        undo: &[
            (Coordinator, "DELETE FROM record WHERE transaction_id = 'NOWHERE'"),
            (Coordinator, "DELETE FROM record_batch WHERE batch_id = 'NOWHERE'"),
        ],
        names: &["NOWHERE"],
    },
];

/// A quiet system with two confirmed orders, one more that was placed as a saga, and one hold in doubt, whose owner is alive as far as anyone knows.
struct Garden {
    system: System,
    ids: [(&'static str, String); 5],
}

impl Garden {
    async fn start() -> Self {
        // Nothing is to be collected, however old it looks.
        let hourly = |set_up: tests::SetUp, service| set_up.set(service, "ASSENT_COLLECT_INTERVAL_MS", 3_600_000);
        let system = Service::ALL.into_iter().fold(System::set_up(), hourly).start().await;
        let client = system.client();
        client.open_account("rich", 100_000).await;
        client.set_stock("plant", 1_000).await;
        let mut ids = Vec::new();
        for request_id in ["first", "second"] {
            let answer = client.place(request_id, &Basket::of("rich").line("plant", 1, 500)).await;
            ids.push(answer.confirmed().expect("confirmed").to_owned());
        }
        let client = client.in_saga_mode();
        let saga = client.place("third", &Basket::of("rich").line("plant", 1, 500)).await;
        let saga = saga.confirmed().expect("confirmed").to_owned();
        client.settled(std::time::Duration::from_secs(5)).await;
        let sql = "INSERT INTO lease (name, owner_id, lease_until, address) VALUES ('ghost', 'ghost', now() + interval '1 h', '')";
        sqlx::query(sql).execute(&system.pool(Coordinator)).await.unwrap();
        let (held, nowhere) = (Uuid::now_v7().to_string(), Uuid::now_v7().to_string());
        let deadline_unix_ms: i64 = sqlx::query_scalar("SELECT extract(epoch FROM now())::bigint * 1000 + 3600000")
            .fetch_one(&system.pool(Coordinator))
            .await
            .unwrap();
        let branch = PrepareBranch {
            transaction: Some(TransactionRef { transaction_id: held.clone(), deadline_unix_ms }),
            participants: vec!["inventory".to_owned()],
            owner_id: "ghost".to_owned(),
            branch: InventoryBranch {
                lines: vec![StockLine { sku: "plant".to_owned(), quantity: 1 }],
                ..Default::default()
            }
            .encode_to_vec(),
        };
        let request = timed(PrepareRequest { branches: vec![branch] });
        let prepared = client.participant(Inventory).prepare(request).await.unwrap().into_inner();
        assert_eq!(prepared.results[0].vote(), Vote::Yes);
        let [first, second] = ids.try_into().expect("two");
        Garden { system, ids: [("ID", first), ("OTHER", second), ("SAGA", saga), ("HELD", held), ("NOWHERE", nowhere)] }
    }

    fn named(&self, text: &str) -> String {
        self.ids.iter().fold(text.to_owned(), |text, (name, id)| text.replace(name, id))
    }

    async fn run(&self, statements: &[(Service, &str)]) {
        for (service, statement) in statements {
            let statement = match statement.contains('\'') {
                true => self.named(statement),
                false => (*statement).to_owned(),
            };
            let done = sqlx::query(AssertSqlSafe(statement.clone())).execute(&self.system.pool(*service)).await;
            done.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }
}

#[tokio::test]
async fn every_kind_of_violation_is_found_by_its_name_and_its_transaction() {
    let garden = Garden::start().await;
    let sound = doctor::all_holds(&garden.system).await;
    assert!(
        sound.transactions >= 3 && sound.invariants.iter().all(|invariant| invariant.checked_count > 0),
        "{sound:#?}"
    );
    let mut found = BTreeSet::new();
    for Plant { violates, plant, undo, names } in PLANTS {
        garden.run(plant).await;
        let report = doctor::examine(&garden.system, &["--settle-ms", "50"]).await;
        let wrong: Vec<&str> = report.wrong().iter().map(|invariant| invariant.name.as_str()).collect();
        assert_eq!(wrong, *violates, "{plant:?}: {:#?}", report.wrong());
        assert_eq!((report.exit, report.healthy), (1, false), "{plant:?}");
        let mut named = BTreeSet::new();
        for invariant in report.wrong() {
            assert!(report.said.contains(&invariant.name), "{:?} does not say {}", report.said, invariant.name);
            let violations = invariant.violations.iter();
            named.extend(
                violations.flat_map(|violation| violation.transaction_ids.iter().chain(&violation.subject).cloned()),
            );
        }
        let expected: BTreeSet<String> = names.iter().map(|name| garden.named(name)).collect();
        assert!(named.is_superset(&expected), "{plant:?} names {named:?}, not {expected:?}");
        found.extend(wrong.into_iter().map(str::to_owned));
        garden.run(undo).await;
    }
    assert_eq!(found.len(), 13, "only {found:?}");
    doctor::all_holds(&garden.system).await;
}
