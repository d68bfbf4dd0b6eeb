//! Fairness as a property: whatever is joined, left, freed, taken and run out, in any order and from several processes, the
//! line is served as a simple model of it says.
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// One who waits, in the model.
#[derive(Debug, Clone)]
struct One {
    entry_id: String,
    quantity: i64,
    least: i64,
    offered: i64,
    /// What he may order now.
    has: i64,
    state: &'static str,
}

/// The line and what is free, as a person would keep them on paper.
#[derive(Debug, Default)]
struct Model {
    free: i64,
    line: Vec<One>,
}

impl Model {
    /// From the front to the back: to each what he wants, if there is as much as he takes at least.
    fn serve(&mut self) {
        for one in self.line.iter_mut().filter(|one| one.state == "WAITING") {
            let wants = one.quantity - one.offered;
            let gets = wants.min(self.free);
            if gets > 0 && gets >= one.least.min(wants) {
                (one.offered, one.has, self.free) = (one.offered + gets, one.has + gets, self.free - gets);
                if one.offered == one.quantity {
                    one.state = "OFFERED";
                }
            }
        }
    }

    /// His turn is over; what he had is free.
    fn end(&mut self, place: usize, state: &'static str) {
        let one = &mut self.line[place];
        if one.state == "WAITING" || one.state == "OFFERED" {
            one.state = state;
        }
        self.free += std::mem::take(&mut one.has);
        self.serve();
    }
}

/// What is done next, by chance, to the service and to the model alike.
async fn step(
    random: &mut StdRng,
    model: &mut Model,
    held: &mut Vec<(PreparedBranch<Holds>, i64)>,
    shop: &TheShop<'_>,
) {
    let TheShop { pool, service, line } = shop;
    let live: Vec<usize> = (0..model.line.len()).filter(|place| model.line[*place].has > 0).collect();
    match random.random_range(0..10) {
        0..=2 => {
            let quantity = random.random_range(1..=6);
            let least = if random.random_bool(0.3) { random.random_range(1..=quantity) } else { 1 };
            let customer = format!("c{}", model.line.len());
            let entry_id = join_as(line, &customer, quantity, least).await.unwrap().entry_id;
            model.line.push(One { entry_id, quantity, least, offered: 0, has: 0, state: "WAITING" });
            model.serve();
        }
        3 | 4 => {
            let came = random.random_range(1..=5);
            adjust(service, "a", came, "").await.unwrap();
            model.free += came;
            model.serve();
        }
        5 => {
            let wanted = random.random_range(1..=3);
            let one = order(wanted, &[]);
            assert_eq!(vote(pool, &one).await, wanted <= model.free, "{model:?}");
            if wanted <= model.free {
                model.free -= wanted;
                held.push((one, wanted));
            }
        }
        6 if !held.is_empty() => {
            let (one, quantity) = held.swap_remove(random.random_range(0..held.len()));
            if random.random_bool(0.5) {
                abort(&Inventory::default(), pool, &[one]).await;
                model.free += quantity;
                model.serve();
            } else {
                commit(&Inventory::default(), pool, &[one]).await;
            }
        }
        7 if !live.is_empty() => {
            let place = live[random.random_range(0..live.len())];
            time_passes(pool, &model.line[place].entry_id).await;
            model.end(place, "LAPSED");
        }
        8 if !live.is_empty() => {
            // Takes all that he was offered so far, and goes on waiting for the rest.
            let one = &mut model.line[live[random.random_range(0..live.len())]];
            let taken = order(one.has, &offers(line, &one.entry_id).await);
            assert!(vote(pool, &taken).await);
            held.push((taken.clone(), 0));
            commit(&Inventory::default(), pool, &[held.pop().unwrap().0]).await;
            one.has = 0;
            if one.state == "OFFERED" {
                one.state = "TAKEN";
            }
        }
        _ if !model.line.is_empty() => {
            let place = random.random_range(0..model.line.len());
            leave(line, &model.line[place].entry_id).await;
            model.end(place, "LEFT");
        }
        _ => (),
    }
}

struct TheShop<'a> {
    pool: &'a Pool,
    service: &'a StockService,
    line: &'a Waitlist,
}

#[tokio::test]
async fn the_line_is_served_as_a_model_of_it_says() {
    for seed in 0..4 {
        let (_postgres, pool, service) = start().await;
        let line = Waitlist::new(pool.clone(), Defaults { max_waiting: 1_000, max_per_customer: 1_000, ..DEFAULTS });
        set(&service, "a", 0).await.unwrap();
        let (mut random, mut model, mut held) = (StdRng::seed_from_u64(seed), Model::default(), Vec::new());
        let shop = TheShop { pool: &pool, service: &service, line: &line };
        for _ in 0..60 {
            step(&mut random, &mut model, &mut held, &shop).await;
            for one in &model.line {
                let (state, _, has) = seen(&line, &one.entry_id).await;
                assert_eq!((state, has), (one.state, one.has), "seed {seed}: {one:?} of {model:?}");
            }
        }
        let held: Vec<_> = held.into_iter().map(|(one, _)| one).collect();
        is_sound(&pool, &held).await;
    }
}

/// Several processes at once: who frees and who joins don't wait for a turn; the order of the offers is that of the places.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_are_served_in_the_order_of_their_places() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 0).await.unwrap();
    let part = |number: u64| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let service = StockService::new(pool.clone(), Inventory::default().strategy);
            let line =
                Waitlist::new(pool.clone(), Defaults { max_waiting: 1_000, max_per_customer: 1_000, ..DEFAULTS });
            let mut random = StdRng::seed_from_u64(number);
            for _ in 0..40 {
                match random.random_range(0..4) {
                    0 | 1 => drop(join(&line, &format!("c{number}"), random.random_range(1..=4)).await),
                    2 => drop(adjust(&service, "a", random.random_range(1..=4), "").await.unwrap()),
                    _ => {
                        let one = order(1, &[]);
                        if vote(&pool, &one).await {
                            abort(&Inventory::default(), &pool, &[one]).await;
                        }
                    }
                }
            }
        })
    };
    for ended in futures::future::join_all((0..4).map(part)).await {
        ended.unwrap();
    }
    let places: Vec<i64> = sqlx::query_scalar(
        "SELECT e.place FROM movement m JOIN reservation r USING (reservation_id) JOIN waitlist_entry e USING (entry_id)
         WHERE m.reason = 'OFFERED' ORDER BY m.sequence",
    )
    .fetch_all(&*pool)
    .await
    .unwrap();
    assert!(places.len() > 10 && places.is_sorted(), "{places:?}");
    is_sound(&pool, &[]).await;
}
